# What cmake --install puts under a prefix works without the tree: the program, the configurations, the launcher's script.
# The container's recipe copies what it builds from, and runs what is tested here and by the other tests.
. "$(dirname "$0")/common.sh"
build=$(dirname "$(dirname "$retain")")
cmake --install "$build" --prefix "$work/prefix" >install.txt 2>&1 || { cat install.txt; fail "cmake --install"; }
installed=$work/prefix/bin/retain
unset CDPATH
"$installed" --version >/dev/null || fail "the installed program does not start"
diff -r "$source_dir/configs" "$work/prefix/share/retain/configs" || fail "the configurations differ"
"$installed" plan "$work/prefix/share/retain/configs/retnet_125m.yaml" >/dev/null || fail "plan with an installed configuration"
"$work/prefix/share/retain/launch/mpirun.sh" -n 2 train tiny.yaml --set train.tokens=512 >out.txt 2>&1 ||
  { cat out.txt; fail "the installed mpirun.sh"; }
[ -e run/DONE ] || fail "no DONE"
[ "$("$work/prefix/share/retain/launch/mpirun.sh" --help | grep -c 'mpirun.sh -n')" -ge 2 ] || fail "mpirun.sh --help"

recipe=$source_dir/launch/Containerfile
for copied in $(sed -n 's/^COPY \(.*\) [^ ]*$/\1/p' "$recipe"); do
  [ -e "$source_dir/$copied" ] || fail "the recipe copies $copied, which is not there"
done
# The folders of the tree: git's, or, where it does not say, all but what is built and run there.
folders=$(cd "$source_dir" && { git ls-files 2>/dev/null || true; } | { grep / || true; } | cut -d/ -f1 | sort -u | { grep -v '^\.' || true; })
[ -n "$folders" ] || folders=$(cd "$source_dir" && ls -d */ | tr -d / | { grep -vxE 'build|runs' || true; })
for folder in configs kernels launch trainer; do
  grep -qx "$folder" <<<"$folders" || fail "$folder is not among the folders of the tree: $folders"
done
for folder in $folders; do
  grep -q "^COPY $folder $folder\$" "$recipe" || fail "the recipe does not copy $folder"
done
grep -q '"name": "cpu"' "$source_dir/CMakePresets.json" && grep -q '"name": "cuda"' "$source_dir/CMakePresets.json" || fail "presets"
echo passed
