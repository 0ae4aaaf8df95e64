# What goes into `generate` and comes out: prompts of any length from anywhere, many at once, stop strings, states in files, and
# how it ends.
. "$(dirname "$0")/common.sh"
"$retain" train tiny.yaml >/dev/null 2>&1
head -c 140000 /dev/zero | tr '\0' 'a' >long.txt
printf 'b\n' >>long.txt
"$retain" generate run --prompt-file long.txt --max-tokens 3 --seed 2 >file.txt || fail "--prompt-file"
"$retain" generate run --prompt - --max-tokens 3 --seed 2 <long.txt >pipe.txt || fail "--prompt -"
cmp file.txt pipe.txt || fail "a file and standard input give different texts"
head -c 140002 file.txt | cmp - long.txt || fail "the prompt is not what was given"
"$retain" generate run --prompt abc --max-tokens 9 --seed 2 >given.txt
printf abc | "$retain" generate run --prompt-file - --max-tokens 9 --seed 2 | cmp - given.txt || fail "a piped prompt is another"
expect_code 66 "$retain" generate run --prompt-file nowhere.txt
grep -q 'nowhere.txt: .*No such file' out.txt || fail "the missing file is not named: $(cat out.txt)"
expect_code 74 "$retain" generate run --prompt-file .
expect_code 64 "$retain" generate run

# ---- why it stopped, and what it took ----
"$retain" generate run --prompt abc --max-tokens 9 --seed 2 2>said.txt >whole.txt
grep -q '^retain: 9 tokens: as many as --max-tokens allows$' said.txt || fail "$(cat said.txt)"
grep -qE '^retain: read 3 tokens, [0-9]+ a second; [0-9.]+ ms a token; a state of [0-9]+ bytes$' said.txt || fail "$(cat said.txt)"
[ "$(wc -c <whole.txt)" = 13 ] || fail "not prompt, nine bytes and the end of a line: $(cat whole.txt)"
stop=$(cut -c7-9 whole.txt)  # three tokens, which are bytes
"$retain" generate run --prompt abc --max-tokens 9 --seed 2 --stop "$stop" --stop never 2>said.txt >stopped.txt
grep -q 'at a --stop$' said.txt || fail "$(cat said.txt)"
[ "$(cat stopped.txt)" = "$(cut -c1-6 whole.txt)" ] || fail "'$(cat stopped.txt)' is not '$(cat whole.txt)' until '$stop'"
"$retain" generate run --prompt abc --max-tokens 9 --top-k 1 2>/dev/null >likeliest.txt
"$retain" generate run --prompt abc --max-tokens 9 --temperature 0 2>/dev/null | cmp - likeliest.txt || fail "--top-k 1 is not the likeliest"
seen=abcdefghijklmnopqrstuvwxyz
"$retain" generate run --prompt $seen --max-tokens 9 --temperature 0 --repetition-penalty 50 2>/dev/null | tail -c 10 | grep -q '[a-z]' &&
  fail "--repetition-penalty does not keep from letters"

# ---- many prompts, in their order, whatever their lengths; on a GPU products of several rows round otherwise than of one ----
device=${CUDA_VISIBLE_DEVICES-unset}
export CUDA_VISIBLE_DEVICES=''
python3 - <<'END'
import json
with open("prompts.txt", "w") as out:
    for i in range(20):
        text = "abc" + "x" * (i * 37 % 400)
        print(text if i % 2 else json.dumps({"id": i, "prompt": text}), file=out, end="\n\n" if i % 5 else "\n")
END
"$retain" generate run --prompts-file prompts.txt --slots 3 --max-tokens 6 --seed 2 >answers.jsonl 2>said.txt || fail "$(cat said.txt)"
"$retain" generate run --prompts-file - --slots 1 --max-tokens 6 --seed 2 <prompts.txt 2>/dev/null | cmp - answers.jsonl || fail "slots change the answers"
"$retain" generate run --prompt abc --max-tokens 6 --seed 2 2>/dev/null >first.txt
python3 - <<'END'
import json
answers = [json.loads(line) for line in open("answers.jsonl")]
assert [len(a["prompt"]) for a in answers] == [3 + i * 37 % 400 for i in range(20)]
assert [a.get("id") for a in answers] == [None if i % 2 else i for i in range(20)]
assert all(a["tokens"] == 6 and a["end"] == "max-tokens" for a in answers)
assert open("first.txt", errors="replace").read() == "abc" + answers[0]["text"] + "\n", answers[0]
END
[ "$device" = unset ] && unset CUDA_VISIBLE_DEVICES || export CUDA_VISIBLE_DEVICES=$device
printf '{"prompt": "a"}\n{"prompt": 7}\n' >wrong.jsonl
expect_code 65 "$retain" generate run --prompts-file wrong.jsonl
grep -q 'wrong.jsonl:2: ' out.txt || fail "the line is not named: $(cat out.txt)"
grep -q '^{"prompt":"a","text":' out.txt || fail "a line that is wrong costs another its answer: $(cat out.txt)"

# ---- a state is as good as its prompt ----
head -c 1000 text.txt >begin.txt
head -c 1500 text.txt | tail -c 500 >more.txt
cat begin.txt more.txt >both.txt
how="--max-tokens 40 --seed 3 --repetition-penalty 1.2"
"$retain" generate run --prompt-file both.txt $how >both.out 2>/dev/null
"$retain" generate run --prompt-file begin.txt --max-tokens 0 --save-state begin.state >/dev/null 2>said.txt || fail "$(cat said.txt)"
"$retain" generate run --state begin.state --prompt-file more.txt $how >more.out 2>/dev/null || fail "--state"
cat begin.txt more.out | cmp - both.out || fail "a state goes on to another text"
"$retain" generate run --prompt-file begin.txt $how >begin.out 2>/dev/null
"$retain" generate run --state begin.state --save-state again.state $how 2>/dev/null | cat begin.txt - | cmp - begin.out || fail "--state alone"
cmp again.state begin.state || fail "a state that is saved again is another"
"$retain" train tiny.yaml --set train.tokens=768 --set run.dir=other --set run.seed=4 >/dev/null 2>&1
expect_code 65 "$retain" generate other --state begin.state
grep -q 'begin.state: is the state of model [0-9a-f]*, and this one is ' out.txt || fail "$(cat out.txt)"
printf x | dd of=again.state bs=1 seek=2000 conv=notrunc 2>/dev/null
expect_code 65 "$retain" generate run --state again.state
grep -q 'again.state: is damaged' out.txt || fail "$(cat out.txt)"
expect_code 65 "$retain" generate run --state begin.txt
expect_code 73 "$retain" generate run --prompt-file begin.txt --save-state not_there/a.state
grep -q 'there is no folder not_there' out.txt && ! grep -q 'retain: read' out.txt || fail "$(cat out.txt)"
[ ! -e not_there ] || fail "a folder was made"

# ---- Ctrl-C, and a reader that has enough ----
python3 - "$retain" <<'END' || fail "Ctrl-C: $(cat said.txt)"
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open("said.txt", "w") as said:
    endless = subprocess.Popen([sys.argv[1], "generate", "run", "--prompt", "abc", "--max-tokens", "1Gi"], stdout=subprocess.PIPE, stderr=said)
text = endless.stdout.read(100)
endless.send_signal(signal.SIGINT)
text += endless.communicate(timeout=60)[0]
said = open("said.txt").read()
assert endless.returncode == -signal.SIGINT and text.endswith(b"\n"), (endless.returncode, text[-80:])
assert "tokens: interrupted" in said and " ms a token" in said, said
END
(trap - PIPE; "$retain" generate run --prompt abc --max-tokens 1Gi 2>said.txt || echo $? >code.txt) | head -c 50 >/dev/null
[ "$(cat code.txt)" = 141 ] || fail "a closed pipe: $(cat code.txt) $(cat said.txt)"
expect_code 74 bash -c "'$retain' generate run --prompt abc --max-tokens 1Gi >/dev/full"
grep -q 'tokens: standard output takes no more' out.txt || fail "$(cat out.txt)"
expect_code 74 bash -c "trap '' PIPE; '$retain' generate run --prompt abc --max-tokens 1Gi 2>said.txt | head -c 50 >/dev/null; exit \${PIPESTATUS[0]}"
echo passed
