# What every release has saved is what this one reads: its checkpoint has the digest that it had, evaluates to the loss
# that it gave, and goes on along the losses that followed, alone and on two ranks; it generates, and its weights begin
# new runs. See tests/releases/.
. "$(dirname "$0")/common.sh"
export CUDA_VISIBLE_DEVICES=  # the figures are those of CPUs
# follows TOLERANCE FILE WANTED: "step loss" lines are all there, and near
follows() {
  [ -s "$2" ] && [ "$(lines "$2")" = "$(lines "$3")" ] || { paste "$2" "$3"; fail "other steps than were recorded"; }
  paste "$2" "$3" | awk -v t="$1" '{ d = $2 - $4; if (d < 0) d = -d; if ($1 != $3 || d > t) exit 1 }' || { paste "$2" "$3"; fail "other losses"; }
}
for folder in "$source_dir"/tests/releases/*/; do
  release=$(basename "$folder")
  sed -n 's/^digest //p' "$folder/results.txt" >digest.txt
  sed -n 's/^eval /0 /p' "$folder/results.txt" >eval.txt
  sed -nE 's/^step ([5-8]) /\1 /p' "$folder/results.txt" >steps.txt

  "$retain" checkpoint verify "$folder" >out.txt 2>&1 || { cat out.txt; fail "$release: not whole"; }
  "$retain" checkpoint digest "$folder" --json >out.txt 2>/dev/null
  grep -q "\"digest\": \"$(cat digest.txt)\"" out.txt || { head -3 out.txt; fail "$release: another digest than $(cat digest.txt)"; }
  "$retain" eval "$folder" --data text="$folder/text" --json 2>/dev/null | sed -nE 's/^ *"loss": ([0-9.]+),.*/0 \1/p' >got.txt
  follows 1e-5 got.txt eval.txt

  "$retain" generate "$folder" --prompt A --max-tokens 2 >out.txt 2>&1 || { cat out.txt; fail "$release: no generation"; }

  for n in 1 2; do
    rm -rf run && mkdir run && cp -r "$folder/checkpoints" run
    sed "s#path: text#path: ${folder}text#" "$source_dir/tests/releases/run.yaml" >run.yaml
    ranks $n train run.yaml >out.txt 2>&1 || { cat out.txt; fail "$release: no resume on $n ranks"; }
    losses run >got.txt
    follows 1e-4 got.txt steps.txt
    grep -q '"step":4,"event":"changed","from":.*"key":"mesh"' run/events.jsonl || fail "$release: the mesh is not said to differ"
  done
  "$retain" train run.yaml --set run.dir=begun --init-from "$folder" --set train.tokens=128 >out.txt 2>&1 || { cat out.txt; fail "$release: no new run with its weights"; }
done

# The first release did not keep what its training data held, and documents began elsewhere: both are said.
rm -rf run && mkdir run && cp -r "$source_dir/tests/releases/6470bb5/checkpoints" run
"$retain" train run.yaml >out.txt 2>&1
[ "$(grep -c 'does not say what its training data held' run/log.txt)" = 1 ] || { cat run/log.txt; fail "what is not compared is not said once"; }
[ "$(grep -c 'warning.*documents begin at their end token.*losses are not comparable' run/log.txt)" = 1 ] || { cat run/log.txt; fail "the rule for documents is not said once"; }
grep -q '"step":4,"event":"changed","from":"after their end token","key":"data.documents"' run/events.jsonl || fail "the rule for documents is no event"
echo passed
