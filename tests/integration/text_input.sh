# Text that is not as it should be: said by name with file and line, converted or left out on request.
. "$(dirname "$0")/common.sh"

prepare() { "$retain" data prepare "$@" --out set; }
refused() {  # PATTERN ARGUMENT…
  expect_code 65 prepare "${@:2}"
  grep -qF -- "$1" out.txt || fail "'$1' is not in: $(cat out.txt)"
}
info() { "$retain" data info set; }

printf '{"text": ""}\n{"text": "abc"}\n{"text": ""}\n' >empty.jsonl
prepare empty.jsonl >out.txt 2>&1
grep -q 'retain: 2 empty documents left out' out.txt && grep -q 'empty.jsonl:3' out.txt || fail "empty documents: $(cat out.txt)"
printf '{"text": "ok"}\n{"text": "a\\ud83db"}\n' >surrogate.jsonl
refused 'half of a surrogate pair' surrogate.jsonl
printf '{"text": "a\377b"}\n{"text": "fine"}\n{"text": null}\n' >bad.jsonl
refused 'bad.jsonl:1: byte 12 (0xff) is not UTF-8 but perhaps Latin-1; --encoding latin-1' bad.jsonl
refused "bad.jsonl:3: 'text' is null, want a string (1 bad lines were left out before)" bad.jsonl --skip-bad 1
prepare bad.jsonl --skip-bad 2 >out.txt 2>&1
grep -q 'retain: 2 lines and files that cannot be used left out' out.txt && grep -q 'documents=1$' out.txt || fail "--skip-bad: $(cat out.txt)"

printf 'caf\303\251\nok \377 caf\303\251\n' >torn.txt
refused 'torn.txt:2: byte 4 (0xff) is no character in a text that is UTF-8 so far; iconv -c -f utf-8 -t utf-8 leaves such bytes out' torn.txt
iconv -c -f utf-8 -t utf-8 torn.txt >whole.txt || true  # says that it left something out
prepare whole.txt >out.txt 2>&1 || fail "after iconv -c: $(cat out.txt)"

for encoding in UTF-16 UTF-16LE ISO-8859-1; do printf 'd\303\251j\303\240 vu\n' | iconv -f UTF-8 -t $encoding >$encoding.txt; done
printf '\357\273\277d\303\251j\303\240 vu\n' >mark.txt
refused 'UTF-16.txt:1: is UTF-16 by its byte order mark, want UTF-8; --encoding utf-16 converts it' UTF-16.txt
refused 'UTF-16LE.txt:1: looks like UTF-16 without a byte order mark, want UTF-8; --encoding utf-16le converts it' UTF-16LE.txt
refused 'ISO-8859-1.txt:1: byte 2 (0xe9) is not UTF-8 but perhaps Latin-1; --encoding latin-1 converts the text' ISO-8859-1.txt
refused 'mark.txt:1: begins with a byte order mark; --encoding utf-8 leaves it out' mark.txt
for converted in 'UTF-16.txt utf-16' 'UTF-16LE.txt utf-16le' 'ISO-8859-1.txt latin-1' 'mark.txt utf-8'; do
  set -- $converted
  prepare "$1" --encoding "$2" >out.txt 2>&1 || fail "$converted: $(cat out.txt)"
  info | grep -qF 'beginning="déjà vu' || fail "$converted: $(info)"
done
expect_code 64 prepare mark.txt --encoding utf-9
echo passed
