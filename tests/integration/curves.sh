# Sourced after common.sh by the tests that compare the loss curves of two runs.

skip() { echo "skipped: $*"; exit 77; }

# real_text: what the curves are measured on, a file: $RETAIN_TEXT, or else the demo's text without the references that begin
# the verses. Those of the books held out ("1Th1:1") are like nothing in the others: what a model makes of them is chance, and
# moves the validation loss by 0.012 between two runs on a CPU that differ in the order of sums alone.
real_text() {
  if [ -n "${RETAIN_TEXT:-}" ]; then
    echo "$RETAIN_TEXT"
  elif command -v bible >/dev/null 2>&1; then
    bible -f gen1:1-rev22:21 | sed 's/^[^ ]* //' >kjv.txt
    echo kjv.txt
  fi
}

# machine CONFIG KEY: a number that plan says about this machine's GPUs; nothing without a GPU.
machine() { "$retain" plan "$1" --set device=auto --json | sed -nE "s/^ *\"$2\": ([0-9]+),?$/\1/p"; }

# train_quietly RANKS SETTINGS…: a run whose output is shown only if it fails.
train_quietly() {
  local log
  log=$(mktemp ./train.XXXXXX)
  ranks "$1" train "${@:2}" >"$log" 2>&1 </dev/null || { tail -n 20 "$log"; fail "train ${*:2}"; }
}

# curve RUN: the means of the loss over 50 steps each, and the last validation loss, if any, as "name value".
curve() {
  losses "$1" | awk '
    { sum += $2; n++; if (n == 1) first = $1 }
    n == 50 { print "steps_" first "-" $1, sum / n; sum = n = 0 }
    END { if (n) print "steps_" first "-" $1, sum / n }'
  sed -nE 's/.*"(valid\/[^"]*)":([^,}]*).*/\1 \2/p' "$1/metrics.jsonl" | tail -n 1
}

# compare NAME RUN REFERENCE LIMIT absolute|relative: prints the largest difference of the two curves and where it is,
# and that of the validation; fails when one is above the limit, or when the curves have other parts.
compare() {
  curve "$2" >curve.txt
  curve "$3" >reference.txt
  awk -v name="$1" -v limit="$4" -v kind="$5" '
    function size(x) { return x < 0 ? -x : x }
    NR == FNR { reference[$1] = $2; parts++; next }
    {
      if (!($1 in reference)) { wrong = wrong " " $1; next }
      parts--
      d = size($2 - reference[$1]) / (kind == "relative" ? size(reference[$1]) : 1)
      if (!(d <= limit)) wrong = wrong " " $1
      if ($1 ~ /^valid/) valid = sprintf(", %s by %.5f", $1, d)
      else { means++; if (d >= most) { most = d; where = $1 } }
    }
    END {
      printf "%-12s %d means of 50 steps differ by at most %.5f (%s)%s; %s limit %s%s\n", name, means, most, where, valid, kind, limit,
        wrong || parts || !means ? "  FAILED:" wrong : ""
      exit wrong || parts || !means
    }' reference.txt curve.txt
}
