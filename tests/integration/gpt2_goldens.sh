# Texts become the tokens that GPT-2's own tokenizer makes of them. $RETAIN_GPT2 is the folder of its vocab.json and
# merges.txt, and $RETAIN_TEXTS one of tinyshakespeare.txt and wiki.test.tokens; what is not there is not looked at.
. "$(dirname "$0")/common.sh"

[ -n "${RETAIN_GPT2:-}" ] || { echo "skipped: RETAIN_GPT2 names no folder with vocab.json and merges.txt"; exit 77; }

golden() {  # FILE TOKENS SHA256: of the tokens as uint16
  [ -e "$1" ] || return 0
  "$retain" data prepare "$1" --out golden --tokenizer "$RETAIN_GPT2" >out.txt 2>/dev/null
  grep -q "tokens=$(($2 + 1)) documents=1" out.txt || fail "$1: $(cat out.txt), want $2 tokens and the end token"
  local hash
  hash=$(head -c $((2 * $2)) golden.bin | sha256sum)
  [ "${hash%% *}" = "$3" ] || fail "$1: $hash"
  echo "$1: $2 tokens"
}
golden "${RETAIN_TEXTS:-none}/tinyshakespeare.txt" 338025 25c01b32b32f41897a6359dd222ec114992dc30c357bcafbfe6c56672f76cd31
golden "${RETAIN_TEXTS:-none}/wiki.test.tokens" 295877 33d3634d89dfb45a09164ac72a5e7939b90eeffce49f82cc738dc5dbc652cf3c
# An apostrophe that is no ASCII, runs of blanks, a tab, an accent, Han, and an emoji.
printf 'Hello, world! I\xe2\x80\x99ve 123  tokens\n\n\t\xc3\xa9 \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x98\x80' >hello.txt
"$retain" data prepare hello.txt --out hello --tokenizer "$RETAIN_GPT2" >out.txt 2>/dev/null
tokens=$(od -A n -v -t u2 -w1000 hello.bin | tr -s ' ' | sed 's/^ //')
[ "$tokens" = "15496 11 995 0 314 447 247 303 17031 220 16326 628 197 2634 10545 120 95 27764 245 30325 222 50256" ] || fail "$tokens"
"$retain" data info hello --tokenizer "$RETAIN_GPT2" --json | python3 -c '
import json, sys
assert json.load(sys.stdin)["sets"][0]["beginning"] == open("hello.txt").read()'
