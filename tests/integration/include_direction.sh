# Includes go one way: kernels <- parallel <- trainer <- launch; and each outside library is visible in one folder.
set -euo pipefail
cd "$1"
bad=0
forbid() {  # FOLDER PATTERN [EXCEPT]
  if grep -rnE "#include [<\"]($2)" "$1" --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh' ${3:+--exclude="$3"}; then
    echo "FAILED: $1 must not include $2" >&2
    bad=1
  fi
}
forbid kernels 'parallel/|trainer/|launch/'
forbid parallel 'trainer/|launch/'
forbid trainer 'launch/'
forbid launch 'tests/'
for folder in kernels trainer launch; do forbid $folder 'mpi.h|nccl.h'; done
for folder in kernels parallel trainer; do forbid $folder 'yaml-cpp/|CLI/'; done
for folder in kernels parallel launch; do forbid $folder 'hdf5.h'; done
forbid launch 'yaml-cpp/' yaml.cpp
exit $bad
