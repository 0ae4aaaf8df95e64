# Preparing a corpus as people do it: folders and patterns, a bar on a terminal, plain lines elsewhere, and an attempt
# that goes on where one before it was stopped.
. "$(dirname "$0")/common.sh"

mkdir -p corpus/sub/.hidden
printf 'one' >corpus/b.txt
printf '{"text": "two"}\n{"text": "three"}\n' >corpus/sub/a.jsonl
printf 'no' >corpus/sub/.hidden/x.txt
head -c 3000 "$retain" >corpus/program
expect_code 65 "$retain" data prepare corpus --out set
grep -q 'corpus/program:1: ' out.txt || fail "what is no text: $(cat out.txt)"
[ ! -e set.part ] || fail "something was left behind"
"$retain" data prepare corpus --out set --skip-bad 1 >out.txt 2>&1 || fail "--skip-bad: $(cat out.txt)"
grep -q '^set=set tokens=14 documents=3$' out.txt || fail "a folder: $(cat out.txt)"
"$retain" data prepare 'corpus/**/*.{txt,jsonl}' --out other 2>/dev/null >out.txt
cmp set.bin other.bin && cmp set.idx other.idx || fail "a pattern: $(cat out.txt)"
expect_code 66 "$retain" data prepare 'corpus/*.md' --out set

cat >bar.py <<'END'
import os, pty, subprocess, sys, time
def under_terminal(*options):
    """What stderr, a terminal of 80 columns, is told until a bar is there, or the work is done."""
    import fcntl, select, struct, termios
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    program = subprocess.Popen([sys.argv[1], "data", "prepare", "-", "--out", "piped", *options], stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"}, start_new_session=True)
    os.close(theirs)
    said, text = b"", b"a line of text\n" * 1000
    for _ in range(600):  # a minute at most
        program.stdin.write(text)
        program.stdin.flush()
        if select.select([ours], [], [], 0.1)[0]:
            said += os.read(ours, 4096)
        if b"tokens" in said or ("--no-progress" in options and _ > 20):
            break
    program.stdin.close()
    assert program.wait() == 0
    return said
bar = under_terminal()
assert b"\r\x1b[K" in bar and b"preparing " in bar, bar
assert b"preparing" not in under_terminal("--no-progress")
END
python3 bar.py "$retain"
head -c 3000000 /dev/zero | tr '\0' 'a' | "$retain" data prepare - --out piped 2>plain.txt >/dev/null
! grep -q $'\r' plain.txt || fail "a bar where there is no terminal: $(cat plain.txt)"
echo passed
