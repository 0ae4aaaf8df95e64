#!/usr/bin/env bash
# Installs what building, testing and the demo need on Debian 12 and Ubuntu 24.04; on other systems says what that is.
# CMake decides whether something is missing: this tree is configured in a scratch folder, before and after. Installs nothing
# when nothing is missing. As root, or with sudo.
#   launch/setup.sh [--check]    --check installs nothing (exit 1 if this tree cannot be configured)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/launch/system.sh"

check=
case "${1:-}" in
  "") ;;
  --check) check=yes ;;
  -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "setup: unknown argument '$1' (known: --check)" >&2; exit 64 ;;
esac

required=(g++ cmake ninja-build python3 openmpi-bin libopenmpi-dev libhdf5-dev libopenblas-dev libyaml-cpp-dev libgtest-dev
  libgmock-dev libcli11-dev libfmt-dev nlohmann-json3-dev libxxhash-dev libprotobuf-dev protobuf-compiler libpcre2-dev)
optional=(
  gnuplot-nox           # the demo's loss curve, a study's figures
  libceres-dev          # a study's second solver
  bible-kjv             # the demo's text
  libcpp-httplib-dev    # retain serve
  pkg-config            # by which that is found
  libsentencepiece-dev  # data train-tokenizer, and tokenizers of its kind
  python3-h5py          # a test opens a checkpoint as a reader would
  ccache
)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
configures() {
  hash -r  # what was just installed comes before what was found earlier
  if ! command -v cmake >/dev/null; then
    echo "CMake Error: cmake is not installed" >"$scratch/log"
    return 1
  fi
  rm -rf "$scratch/build"
  cmake -S "$root" -B "$scratch/build" -G Ninja -D RETAIN_CUDA=OFF >"$scratch/log" 2>&1
}
say_why() { sed -n '/^CMake Error/,/^Call Stack\|^--/{/^Call Stack\|^--\|^$/!p}' "$scratch/log" >&2; }
give_up() {
  say_why
  echo "setup: every package is installed, but CMake cannot configure this tree; it says why above" >&2
  exit 1
}
absent() {
  local package
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

ready=
if configures; then ready=yes; fi
if [ -z "$packages_known" ]; then
  if [ -z "$ready" ]; then
    say_why
    echo "setup: this is '$system', where launch/setup.sh does not know the package manager. Please install what Debian calls:" >&2
    echo "  required: ${required[*]}" >&2
    echo "  optional: ${optional[*]}" >&2
    exit 1
  fi
  [ -z "$check" ] || echo "nothing required is missing"
  exit 0
fi

missing=()
[ -n "$ready" ] || mapfile -t missing < <(absent "${required[@]}")
mapfile -t wished < <(absent "${optional[@]}")
if [ -n "$check" ]; then
  [ -n "$ready" ] || say_why
  echo "missing: ${missing[*]:-nothing required} (optional: ${wished[*]:-none})"
  [ -n "$ready" ]
  exit
fi
[ -n "$ready" ] || [ ${#missing[@]} -gt 0 ] || give_up
[ ${#missing[@]} -gt 0 ] || [ ${#wished[@]} -gt 0 ] || exit 0

by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]} ${wished[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null; then
    as_root=(sudo)
  elif [ -n "$ready" ]; then
    echo "setup: going on without the optional ${wished[*]}" >&2
    exit 0
  else
    printf 'setup: only root can install, and there is no sudo. Please have this run as root:\n  %s\n' "$by_hand" >&2
    exit 1
  fi
fi
apt_get() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@"; }
install() { apt_get install -y --no-install-recommends "$@" >/dev/null; }
echo "setup: installing ${missing[*]} ${wished[*]}"
apt_get update >/dev/null || echo "setup: apt-get update failed; trying with the lists that are there" >&2
if [ ${#missing[@]} -gt 0 ] && ! install "${missing[@]}"; then
  printf 'setup: could not install that; apt-get says why above. As root:\n  %s\n' "$by_hand" >&2
  exit 1
fi
for package in ${wished[@]+"${wished[@]}"}; do
  install "$package" || echo "setup: could not install the optional $package; going on without" >&2
done
[ -n "$ready" ] || configures || give_up
