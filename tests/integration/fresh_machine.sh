#!/usr/bin/env bash
# The first command on a fresh machine, for real: minimal root folders made by debootstrap, one bare and one with what gets in
# the way, each with a fresh copy of this tree. In each, launch/setup.sh --check answers what configuring answers, before and
# after launch/setup.sh, and what was configured is Open MPI, OpenBLAS and the serial HDF5.
#   tests/integration/fresh_machine.sh [--full] bookworm|noble
# --full also takes away each required package in turn, and runs the README's two commands; RETAIN_CCACHE keeps what they
# compile in a folder.
# Packages come from the archives that this machine's apt is configured for (more: RETAIN_ARCHIVES="URI …").
# Answers 77 where that cannot be tried: not root, no debootstrap, or no archive that holds the suite.
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
source_dir=$(cd "$(dirname "$0")/../.." && pwd)

full=
if [ "${1:-}" = --full ]; then full=yes; shift; fi
suite=${1:-}
case "$suite" in
  bookworm) components=main ;;
  noble) components=main,universe ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 64 ;;
esac

apart() { unshare --mount --pid --fork --kill-child "$@"; }  # its mounts and processes end with it
fail() { echo "FAILED: $*" >&2; exit 1; }
skip() { echo "skipped: $*"; exit 77; }
say() { printf '== %s (%d s)\n' "$*" $SECONDS; }
[ "$(id -u)" -eq 0 ] || skip "only root can make root folders"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
apart true 2>/dev/null || skip "this machine lets root make no namespaces"

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
ccache=${RETAIN_CCACHE:-$work/ccache}
mkdir -m 777 -p "$work/packages" "$ccache"
mapfile -t environment < <(env | grep -iE '^((https?|no)_proxy|OPENBLAS_[A-Z0-9_]+)=')
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# in_root ROOT COMMAND: a login's shell in the copy of this tree, as $user, with $ahead before its PATH
user=root
ahead=
in_root() {
  apart bash -c '
    mount --rbind /dev "$1/dev"
    mount -t tmpfs shm "$1/dev/shm"
    mount -t proc proc "$1/proc"
    mount --rbind /sys "$1/sys"
    mount --bind "$2" "$1/var/cache/apt/archives"
    mount --bind "$3" "$1/ccache"
    exec chroot --userspec="$4" "$1" "${@:5}"' _ "$1" "$work/packages" "$ccache" "$user" /usr/bin/env -i "${environment[@]}" \
    HOME=/tmp LC_ALL=C.UTF-8 CCACHE_DIR=/ccache CCACHE_COMPILERCHECK=content PATH="$ahead$path" bash -c "cd /retain && $2"
}
# quiet COMMAND…: its output only when it fails
quiet() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "$*"; }; }
install() { quiet in_root "$1" "DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends ${*:2}"; }

# Every archive of this machine is asked; the one that holds the suite answers. Ubuntu's suites share one script.
make_base() {
  local script=/usr/share/debootstrap/scripts/$suite archive
  [ -e "$script" ] || script=gutsy
  for archive in ${RETAIN_ARCHIVES:-} $(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u); do
    apart --mount-proc debootstrap --variant=minbase --components=$components "$suite" "$base" "$archive" "$script" \
      >"$work/log" 2>&1 && return 0
    if grep -q 'Retrieving Packages' "$work/log"; then cat "$work/log"; fail "debootstrap"; fi
    rm -rf --one-file-system "$base"
  done
  return 1
}
say "Making a minimal root folder of $suite"
base=$work/base
make_base || skip "no archive that apt is configured for holds $suite"
apt-config dump | grep -E '^Acquire::(https?|Retries)\b.* "[^"]+";' >"$base/etc/apt/apt.conf.d/00host" || true
cp -a /etc/apt/auth.conf* /etc/apt/trusted.gpg.d "$base/etc/apt/" 2>/dev/null || true
mkdir "$base/retain" "$base/ccache"
git -C "$source_dir" ls-files -coz --exclude-standard |
  tar -C "$source_dir" --null -T - --ignore-failed-read -cf - | tar -C "$base/retain" -xf -
chown -R 1000:1000 "$base/retain"
quiet in_root "$base" "apt-get -qq update"
cp -a "$base" "$work/bare"
cp -a "$base" "$work/hostile"

# check_agrees ROOT ANSWERS: --check and configuring answer the same, which is one of these
check_agrees() {
  local check=no configured=no
  rm -rf "$1/retain/build"
  if in_root "$1" "launch/setup.sh --check" >"$work/check" 2>&1; then check=yes; fi
  if in_root "$1" "$configure" >"$work/configure" 2>&1; then configured=yes; fi
  [ $check = $configured ] && [[ "$2" == *$check* ]] && return
  cat "$work/check" "$work/configure"
  fail "want $2: --check says $check, configuring $configured"
}
configure='. launch/system.sh && configure_preset cpu'
# setup_works ROOT: installs, and then has nothing left to do
setup_works() {
  in_root "$1" "launch/setup.sh" >"$work/log" 2>&1 || { cat "$work/log"; fail "launch/setup.sh"; }
  check_agrees "$1" yes
  in_root "$1" "launch/setup.sh" >"$work/log" 2>&1
  [ ! -s "$work/log" ] || { cat "$work/log"; fail "a second launch/setup.sh has something to do"; }
}
cached() { sed -n "s/^$2:[A-Z]*=//p" "$1/retain/build/cpu/CMakeCache.txt"; }
# What was configured is what is meant, and the sources that include it compile.
finds_the_right_libraries() {
  [[ $(cached "$1" RETAIN_CBLAS_INCLUDE_DIR) == *openblas* ]] || fail "cblas.h of $(cached "$1" RETAIN_CBLAS_INCLUDE_DIR)"
  [[ $(in_root "$1" "$(cached "$1" MPIEXEC_EXECUTABLE) --version") == *@(Open MPI|OpenRTE)* ]] || fail "another MPI's mpiexec"
  quiet in_root "$1" ". launch/system.sh && ninja -C build/cpu kernels/CMakeFiles/retain_kernels.dir/cpu/backend.cpp.o \
    parallel/CMakeFiles/retain_parallel.dir/mpi/mpi_environment.cpp.o \
    trainer/CMakeFiles/retain_trainer.dir/checkpoint/hdf5.cpp.o"
}
both_commands() {
  local command
  for command in launch/demo.sh tests/run.sh; do
    say "$(basename "$1"): $command"
    in_root "$1" "$command" || fail "$command"
  done
}

say "Bare, as a user without sudo"
root=$work/bare
user=1000:1000
check_agrees "$root" no
grep -q '^missing: g++ cmake' "$work/check" || fail "--check does not name the packages: $(cat "$work/check")"
if in_root "$root" "launch/setup.sh" >"$work/log" 2>&1; then fail "setup.sh without root or sudo succeeds"; fi
line=$(grep -o 'apt-get update .*' "$work/log") || { cat "$work/log"; fail "no line for root to run"; }
user=root
quiet in_root "$root" "${line/ install / install --simulate }"

say "Bare, on a system that setup.sh does not know"
cp -aL "$root/etc/os-release" "$work/os-release"
sed -i 's/^ID=.*/ID=other/' "$root/etc/os-release"
check_agrees "$root" no
if in_root "$root" "launch/setup.sh" >"$work/log" 2>&1; then fail "setup.sh installs where it knows no packages"; fi
grep -q "required: g++" "$work/log" || { cat "$work/log"; fail "setup.sh does not list what is needed"; }
cp "$work/os-release" "$root/etc/os-release"

say "Bare, as root"
setup_works "$root"
finds_the_right_libraries "$root"
user=1000:1000
check_agrees "$root" yes
user=root

# The reference BLAS's and ATLAS's cblas.h, parallel HDF5, MPICH behind mpicxx and mpirun, and first in PATH another prefix
# with an old CMake, a Python without h5py, and headers and tools that are not the ones meant.
say "Hostile"
root=$work/hostile
install "$root" g++ libblas-dev libhdf5-openmpi-dev libhdf5-mpich-dev mpich libmpich-dev python3-venv
in_root "$root" "apt-get -qq install -y libatlas-base-dev" >"$work/log" 2>&1 || echo "no ATLAS in this archive"
choose() { quiet in_root "$root" "arch=\$(gcc -print-multiarch); update-alternatives --set $1 $2"; }
choose mpi /usr/bin/mpicc.mpich
choose mpirun /usr/bin/mpirun.mpich
choose 'libblas.so-$arch' '/usr/lib/$arch/blas/libblas.so'
quiet in_root "$root" "python3 -m venv --without-pip --copies /opt/other && mkdir -p /opt/other/include"
for header in cblas.h openblas_config.h hdf5.h mpi.h xxhash.h; do
  echo '#error "this header is another prefix'"'"'s"' >"$root/opt/other/include/$header"
done
for tool in h5cc h5pcc protoc; do printf '#!/bin/sh\necho "another prefix" >&2\nexit 1\n' >"$root/opt/other/bin/$tool"; done
cat >"$root/opt/other/bin/cmake" <<'END'
#!/bin/sh
[ "$1" != --version ] || { echo "cmake version 3.16.3"; exit 0; }
printf 'CMake Error at CMakeLists.txt:1 (cmake_minimum_required):\n  CMake 3.25 or higher is required.\n' >&2
exit 1
END
chmod +x "$root"/opt/other/bin/*
ahead=/opt/other/bin:
check_agrees "$root" no
setup_works "$root"
finds_the_right_libraries "$root"
[[ $(in_root "$root" "mpirun --version") == *HYDRA* ]] || fail "mpirun is not MPICH's: the case says nothing"

say "Hostile, with the parallel HDF5 alone"
quiet in_root "$root" "dpkg --remove --force-depends libhdf5-dev hdf5-helpers"
check_agrees "$root" no
setup_works "$root"

say "Hostile, over a build folder that remembers another generator and another MPI"
rm "$root/retain/build/cpu/CMakeCache.txt"
cat >"$root/retain/build/cpu/CMakeCache.txt" <<'END'
CMAKE_GENERATOR:INTERNAL=Unix Makefiles
MPIEXEC_EXECUTABLE:FILEPATH=/usr/bin/mpiexec.mpich
END
quiet in_root "$root" "$configure"
finds_the_right_libraries "$root"
if [ -n "$full" ]; then
  both_commands "$root"
  ahead=
  root=$work/bare
  for package in $(sed -n '/^required=(/,/)$/{s/required=(//;s/)//;p}' "$source_dir/launch/setup.sh"); do
    say "Bare, without $package"
    quiet in_root "$root" "dpkg --remove --force-depends $package"
    check_agrees "$root" "no or yes"  # another package may hold the file itself
    quiet in_root "$root" "dpkg --install /var/cache/apt/archives/${package}_*.deb"
  done
  both_commands "$root"
fi
say passed
