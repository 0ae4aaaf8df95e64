# Sourced by the scripts that install and build: which system this is and, where setup.sh knows its packages, their tools first
# in PATH. An older CMake or another Python before them would otherwise stand in their way.
#   configure_preset NAME    also over a build folder that remembers what is no longer so (another MPI, another generator)
system=unknown
if [ -r /etc/os-release ]; then system=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}"); fi
case "$system" in
  "debian 12" | "debian 13" | "ubuntu 24.04" | "ubuntu 25."* | "ubuntu 26."*)
    packages_known=yes
    export PATH=/usr/bin:$PATH
    ;;
  *) packages_known= ;;
esac
configure_preset() { cmake --preset "$1" 2>/dev/null || cmake --fresh --preset "$1"; }
