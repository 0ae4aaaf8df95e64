# A corpus of a gigabyte: the source of Linux as Debian packages it is prepared with a tokenizer trained on it, and trained
# on for 100 steps by one rank and by four, which start in seconds. Takes 8 GB of disk and about ten minutes a processor.
. "$(dirname "$0")/common.sh"

most_start_seconds=5
package=$(apt-cache depends linux-source 2>/dev/null | sed -n 's/.*Depends: *\(linux-source-[0-9.]*\)$/\1/p' | head -1) || true
[ -n "$package" ] && command -v dpkg-deb >/dev/null || { echo "no package linux-source here"; exit 77; }
apt-get download "$package" >/dev/null 2>&1 || { echo "$package cannot be had"; exit 77; }
dpkg-deb -x "$package"_*.deb unpacked && rm "$package"_*.deb
mkdir source
tar -x -f "$(find unpacked -name 'linux-source-*.tar.*' | head -1)" -C source && rm -r unpacked

"$retain" data train-tokenizer source --vocab 8000 --out tokenizer --sample 16Mi --skip-bad 2k 2>/dev/null >tokenizer.txt
time "$retain" data prepare source --out linux --tokenizer tokenizer --holdout 1% --skip-bad 2k 2>prepare.txt || fail "$(cat prepare.txt)"
rm -r source
[ "$(stat -c %s linux_train.bin)" -gt 500000000 ] || fail "less than a gigabyte of text"

cat >linux.yaml <<'END'
run: {dir: one}
model: {layers: 2, hidden_size: 64, heads: 2, ffn_size: 128, vocab_size: 8000}
data: {tokenizer: tokenizer, train: [{path: linux_train}], valid: {held: linux_valid}, seq_len: 256}
train: {tokens: 204800, batch_tokens: 2048, micro_batch_tokens: 512}
eval: {every: 100, tokens: 16Ki}
optimizer: {lr: 3e-3}
schedule: {warmup: 10}
log: {every: 50}
device: cpu
END
check() {  # RUN LOG
  python3 - "$1" "$2" $most_start_seconds <<'END'
import json, re, sys
run, log, most = sys.argv[1], open(sys.argv[2]).read(), float(sys.argv[3])
losses = [m["loss"] for m in map(json.loads, open(f"{run}/metrics.jsonl")) if "loss" in m]
seconds = float(re.search(r"the start took ([0-9.]+) s", log).group(1))
print(f"{run}: {len(losses)} steps, loss {losses[0]:.2f} to {losses[-1]:.2f}, start {seconds} s:", re.search(r"the start took .*", log).group(0))
assert len(losses) == 100 and losses[-1] < losses[0] - 1.5, losses
assert seconds < most, seconds
END
}
"$retain" train linux.yaml >one.txt 2>&1 || fail "$(tail -5 one.txt)"
check one one.txt
ranks 4 train linux.yaml --set run.dir=four >four.txt 2>&1 || fail "$(tail -5 four.txt)"
check four four.txt
losses_near one four
"$retain" data show one --step 100 --json | python3 -c '
import json, sys
shown = json.load(sys.stdin)
assert shown["first_sample"] == 99 * 8 and all(isinstance(d["text"], str) for s in shown["samples"] for d in s["documents"])'
echo passed
