# A prompt may be longer than a command line holds: it comes from a file or from standard input, to its last byte.
. "$(dirname "$0")/common.sh"
"$retain" train tiny.yaml --set train.tokens=512 >/dev/null 2>&1
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
echo passed
