#!/usr/bin/env bash
# The suite on a GPU, then its operations under CUDA's own checks (compute-sanitizer). Nothing else may be on the GPU.
#   tests/gpu.sh [ctest arguments]
# One test asks for more memory than there is, and its failing cudaMalloc is no finding, so memcheck does not report errors
# of calls. Races are looked for in our kernels alone, by their mangled names, and without the cases that call cuBLASLt:
# its Hopper kernels end in an internal error of racecheck.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/.."
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if ! nvidia-smi >/dev/null 2>&1 || [ ! -x "$sanitizer" ]; then
  echo "skipped: no GPU or no compute-sanitizer here"
  exit 77
fi
tests/run.sh "$@"
left_out='*CudaRetention.ForwardIs*:*CudaRetention.BackwardIs*:*CudaRetention.SegmentStateAnd*:*OfTheConfigs*float32'
left_out+=':*ComputesStatesAgain*:*Folded*:*SegmentScan*:*Matmul*:*Timer*'
"$sanitizer" --tool memcheck --report-api-errors no --error-exitcode 1 \
  build/cuda/bin/kernels_test --gtest_filter='*cuda*:Cuda*'
"$sanitizer" --tool racecheck --kernel-name kns=6retain --error-exitcode 1 \
  build/cuda/bin/kernels_test --gtest_filter="*cuda*-$left_out"
