#!/usr/bin/env bash
# Installs what building, testing and the demo need on Debian 12 and Ubuntu 24.04; on other systems lists it.
# Installs nothing when nothing is missing. As root, or with sudo.
#   launch/setup.sh [--check]    --check only says what is missing (exit 1 if something required is)
set -euo pipefail

check=
case "${1:-}" in
  "") ;;
  --check) check=yes ;;
  -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "setup: unknown argument '$1' (known: --check)" >&2; exit 64 ;;
esac

has_command() { command -v "$1" >/dev/null 2>&1; }
has_header() {
  local dir
  for dir in /usr/include /usr/local/include /usr/include/x86_64-linux-gnu /usr/include/aarch64-linux-gnu; do
    compgen -G "$dir/$1" >/dev/null && return 0
  done
  return 1
}
has_python_module() { /usr/bin/python3 -c "import $1" >/dev/null 2>&1; }

# package, how to see that it is there
required=()
optional=()
need() { "${@:2}" || required+=("$1"); }
want() { "${@:2}" || optional+=("$1"); }
need g++ has_command g++
need cmake has_command cmake
need ninja-build has_command ninja
need python3 has_command python3
need openmpi-bin has_command mpirun
need libopenmpi-dev has_command mpicxx
need libhdf5-dev has_header 'hdf5/serial/hdf5.h'
need libyaml-cpp-dev has_header yaml-cpp/yaml.h
need libgtest-dev has_header gtest/gtest.h
need libgmock-dev has_header gmock/gmock.h
need libbenchmark-dev has_header benchmark/benchmark.h
need libcli11-dev has_header CLI/CLI.hpp
need libfmt-dev has_header fmt/core.h
need libspdlog-dev has_header spdlog/spdlog.h
need nlohmann-json3-dev has_header nlohmann/json.hpp
need libxxhash-dev has_header xxhash.h
need libprotobuf-dev has_header google/protobuf/message_lite.h
need protobuf-compiler has_command protoc
need libopenblas-dev has_header '*/cblas.h'
want gnuplot-nox has_command gnuplot   # the demo's loss curve
want bible-kjv has_command bible       # the demo's text
want python3-h5py has_python_module h5py # one test opens a checkpoint as a reader would
want ccache has_command ccache

if [ ${#required[@]} -eq 0 ] && [ ${#optional[@]} -eq 0 ]; then
  [ -z "$check" ] || echo "nothing is missing"
  exit 0
fi
if [ -n "$check" ]; then
  echo "missing: ${required[*]:-nothing required} (optional: ${optional[*]:-none})"
  [ ${#required[@]} -eq 0 ]
  exit
fi

system=unknown
[ -r /etc/os-release ] && . /etc/os-release && system="${ID:-unknown} ${VERSION_ID:-}"
case "$system" in
  "debian 12" | "debian 13" | "ubuntu 24.04" | "ubuntu 25."* | "ubuntu 26."*) ;;
  *)
    echo "setup: this is '$system', where launch/setup.sh does not know the package manager. Please install what Debian calls:"
    echo "  required: ${required[*]:-nothing}"
    echo "  optional: ${optional[*]:-nothing}"
    [ ${#required[@]} -eq 0 ] && exit 0
    exit 1
    ;;
esac

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  has_command sudo || { echo "setup: run as root or install sudo; missing: ${required[*]} ${optional[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
apt_get() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@"; }
install() { apt_get install -y --no-install-recommends "$@" >/dev/null; }
echo "setup: installing ${required[*]} ${optional[*]}"
apt_get update >/dev/null || echo "setup: apt-get update failed; trying with the lists that are there" >&2
if [ ${#required[@]} -gt 0 ] && ! install "${required[@]}"; then
  echo "setup: could not install ${required[*]}; see the messages of apt-get above" >&2
  exit 1
fi
for package in ${optional[@]+"${optional[@]}"}; do
  install "$package" || echo "setup: could not install the optional $package; going on without" >&2
done
