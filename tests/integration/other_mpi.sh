# Built with MPICH, where one is installed beside Open MPI: two ranks of MPICH's mpiexec train with the losses of one, and either
# launcher is refused by a program of the other MPI. RETAIN_MPICH_CXX and RETAIN_MPICH_EXEC name its mpicxx and mpiexec.
. "$(dirname "$0")/common.sh"
mpicxx=${RETAIN_MPICH_CXX:-$(command -v mpicxx.mpich || true)}
mpiexec=${RETAIN_MPICH_EXEC:-$(command -v mpiexec.hydra || true)}
[ -x "$mpicxx" ] && [ -x "$mpiexec" ] || { echo "skipped: there is no MPICH here (mpich, libmpich-dev; or RETAIN_MPICH_CXX and RETAIN_MPICH_EXEC)"; exit 77; }

cmake -S "$source_dir" -B mpich -D CMAKE_BUILD_TYPE=Release -D BUILD_TESTING=OFF -D RETAIN_CUDA=OFF -D "MPI_CXX_COMPILER=$mpicxx" \
  -D "MPIEXEC_EXECUTABLE=$mpiexec" >build.txt 2>&1 && cmake --build mpich --target retain --parallel 2 >>build.txt 2>&1 ||
  { tail -n 30 build.txt; fail "it does not build with MPICH"; }
other=mpich/bin/retain
short="--set train.tokens=2560"
expect_code 0 "$retain" train tiny.yaml $short --set run.dir=one
expect_code 0 "$mpiexec" -n 2 "$other" train tiny.yaml $short --set run.dir=two
grep -q 'MPICH' two/environment.json || fail "another MPI: $(cat two/environment.json)"
paste <(losses one) <(losses two) | awk 'NF != 4 || $1 != $3 || ($2 - $4)^2 > 1e-8 { exit 1 }' || fail "losses differ: $(losses one; losses two)"
expect_code 78 "$mpiexec" -n 1 "$other" train tiny.yaml $short : -n 1 "$other" train tiny.yaml $short --set optimizer.lr=1
expect_code 69 "$mpiexec" -n 2 "$retain" train tiny.yaml --set run.dir=alone
grep -q 'the mpiexec of MPICH or Intel MPI started 2 processes' out.txt || fail "$(cat out.txt)"
expect_code 69 "$source_dir/launch/mpirun.sh" --program "$other" -n 2 train tiny.yaml --set run.dir=alone
grep -q "is not Open MPI's" out.txt || fail "$(cat out.txt)"
[ ! -e alone ] || fail "ranks of the other MPI began a run"
echo passed
