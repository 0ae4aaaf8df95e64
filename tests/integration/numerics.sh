#!/bin/bash
# Numbers that go wrong in whole runs: how a run that diverges ends, and that looking at numbers changes none.
source "$(dirname "$0")/common.sh" "$@"

# Replicas compared and micro-batches replayed in every step: the same losses, and the memory that was planned.
ranks 2 train tiny.yaml --set run.dir=plain >/dev/null 2>plain.txt
ranks 2 train tiny.yaml --set run.dir=watched --set numerics.replay_every=1 --set numerics.check_replicas_every=1 >/dev/null 2>watched.txt
[ "$(losses plain)" = "$(losses watched)" ] || fail "a run whose numbers are looked at has other losses"
[ "$(lines plain/metrics.jsonl)" = "$(lines watched/metrics.jsonl)" ] || fail "metrics"

# Every log.every steps the slowest rank is in the metrics; of one rank alone there is none.
[ "$(grep -c '"slowest_rank":[01],"slowest_ratio":[1-9]' plain/metrics.jsonl)" = 4 ] || fail "4 steps of 40 say which rank was the slowest"
"$retain" train tiny.yaml --set run.dir=alone >/dev/null 2>&1
! grep -q slowest alone/metrics.jsonl || fail "a rank alone is no slower than others"

# A resume with a rate that no model stands: it goes back once, and then ends with 76 and the tensor.
"$retain" train tiny.yaml --set run.dir=hot --set train.tokens=2560 >/dev/null 2>&1
expect_code 76 ranks 2 train tiny.yaml --set run.dir=hot --set optimizer.lr=1e30 --set optimizer.clip=0 --set schedule.kind=constant --set schedule.warmup=0
grep -q 'updates in a row had no finite gradient: going back to step 10; the 88 sequences since then are not trained on again' out.txt || { cat out.txt; fail "no rollback"; }
grep -Eq 'step 21: 10 updates in a row had no finite gradient; computed once more, the first number of that step that is not finite is in the (output of layer|embedded tokens|loss|weight|gradient).* on rank [01] on host' out.txt || { cat out.txt; fail "no tensor is named"; }
grep -q '76' <(grep '"event":"error"' hot/events.jsonl) || fail "no error event"
grep -q 'rollback' hot/events.jsonl || fail "no rollback event"
[ -e hot/FAILED ] || fail "no FAILED"

# A key with a value that means nothing is refused.
expect_code 78 "$retain" train tiny.yaml --set numerics.on_spike=ignore
grep -q 'numerics.on_spike' out.txt || fail "the key is not named"
