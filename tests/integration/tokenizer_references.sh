# 10,000 random strings become the tokens that the reference libraries make of them: tokenizers, tiktoken and sentencepiece
# of the Python that $RETAIN_PYTHON names. With GPT-2's own vocab.json and merges.txt in the folder $RETAIN_GPT2, by these too.
. "$(dirname "$0")/common.sh"

python=${RETAIN_PYTHON:-python3}
script=$source_dir/tests/integration/tokenizer_references.py
"$python" "$script" make . "${source_dir}/README.md" >made.txt 2>&1 || {
  code=$?
  cat made.txt
  exit $code
}
prepare() { "$retain" data prepare strings.jsonl --out "$1.tokens" --tokenizer "$2" >/dev/null 2>prepare.log || fail "$1: $(cat prepare.log)"; }
for name in gpt2 later files; do prepare $name $name; done
[ -z "${RETAIN_GPT2:-}" ] || prepare real "$RETAIN_GPT2"
if "$retain" data train-tokenizer "${source_dir}/README.md" --vocab 1500 --out pieces >/dev/null 2>&1; then prepare pieces pieces; fi
"$python" "$script" check . "${source_dir}/README.md"
