# retain top and retain plot beside a run that was trained, and what they say where there is none.
. "$(dirname "$0")/common.sh"
"$retain" train tiny.yaml --set run.dir=one >/dev/null 2>&1
"$retain" train tiny.yaml --set run.dir=two --set train.tokens=5120 >/dev/null 2>&1

LC_ALL=C "$retain" top one --columns 80 --rows 24 >page.txt </dev/null
grep -q '^one  finished$' page.txt && grep -q 'step 40/40  100.0 %' page.txt || fail "$(cat page.txt)"
grep -Eq '^valid/held/loss  ' page.txt && grep -q 'step 40 done: finished' page.txt || fail "$(cat page.txt)"
! LC_ALL=C grep -q '[^ -~]' page.txt || fail "characters beyond ASCII: $(cat page.txt)"
LC_ALL=C.UTF-8 "$retain" top one two --once | grep -q '█' || fail "no curve"
expect_code 66 "$retain" top nowhere
grep -q 'nowhere: is no run directory' out.txt || fail "$(cat out.txt)"
chmod a-w one  # whoever only looks needs no right to write
"$retain" top one >/dev/null
chmod u+w one

mkdir bare
expect_code 66 env PATH="$PWD/bare" "$retain" plot one two --out both.svg --x tokens
grep -q "gnuplot is not installed; once it is, 'gnuplot .*both.gnuplot' draws .*both.svg" out.txt || fail "$(cat out.txt)"
grep -q '^# two: valid/held/loss$' both.txt && [ -s both.gnuplot ] && [ ! -e both.svg ] || fail "data and script without gnuplot"
expect_code 64 "$retain" plot one --out both.pdf
expect_code 65 "$retain" plot one --out one.svg --series los
if command -v gnuplot >/dev/null; then
  "$retain" plot one two --out both.svg --x hours --log-y 2>plot.err
  grep -q '<svg' both.svg && grep -q 'two: valid/held/loss' both.svg || fail "no figure"
  "$retain" plot one --out one.png 2>>plot.err
  [ "$(head -c 4 one.png | tail -c 3)" = PNG ] || fail "no PNG"
  [ ! -s plot.err ] || fail "gnuplot complains: $(cat plot.err)"
fi
# On a terminal the same lines scroll above one bar, of which nothing is left at the end; --no-progress leaves it out.
if command -v script >/dev/null; then
  on_terminal() { TERM=xterm script -qec "stty cols 80 rows 24; '$retain' train tiny.yaml --set run.dir=$1 --set train.tokens=64Ki --set checkpoint.every=0 $2" "$1.tty" </dev/null >/dev/null; }
  on_terminal bar ""
  grep -aq $'\r\x1b\\[K\\(training\\|validating\\|starting\\) .*[0-9]' bar.tty || fail "no bar: $(head -c 2000 bar.tty)"
  grep -aq 'step=256/256 loss=' bar.tty || fail "no step line above the bar: $(tail -c 2000 bar.tty)"
  on_terminal plain --no-progress
  ! grep -aq $'\x1b' plain.tty || fail "a bar that nobody wants: $(head -c 2000 plain.tty)"
  on_terminal piped "| tee piped.txt"
  ! grep -aq $'\x1b' piped.tty || fail "a bar among the lines of another program: $(head -c 2000 piped.tty)"
fi
echo passed
