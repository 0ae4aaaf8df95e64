#!/usr/bin/env bash
# Builds everything and runs the whole test suite; installs what is missing first. With nvcc the CUDA code is built, and
# with a GPU its cases run instead of being skipped.
#   tests/run.sh [ctest arguments]    such as -R integration, -L fault, -j 2
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/.."
. launch/system.sh
launch/setup.sh
preset=cpu
if command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ]; then preset=cuda; fi
configure_preset "$preset"
cmake --build --preset "$preset"
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --parallel "$(nproc)" "$@"
