#!/usr/bin/env bash
# Runs the backends, the core of the pool and a part of the shared pool with the
# Linux arm64 build of Deno under qemu-user, once for each page size:
#   tools/arm64/run.sh [PAGE_SIZE...]        default: 4096 16384 65536
#
# The first call installs qemu and arm64's C library from Debian's packages and
# Deno from npm. Ends with 77 where that is not possible: nothing was tested.
# Emulation is some 50 times slower than the machine, so nothing is type-checked
# and only the test files named below run. docs/porting.md says what a green
# run does not prove.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The newest that npm has for linux-arm64-glibc.
version=2.9.5
home=${XDG_CACHE_HOME:-$HOME/.cache}/smriti/linux-arm64-$version
log=$home/setup.log
libraries=/usr/aarch64-linux-gnu
tests=(
  ffi/{backend,heap,windows}
  pool/{region,slots,growth,shrink,isolation,revoke,acquire,size_class_pool}
  shared/{slots,counts,litmus}
  random/model
)
flags=(-A --no-check --frozen --sanitize-ops --sanitize-resources)

where="ON ARM64"
# shellcheck source=tools/setup.sh
source tools/setup.sh

packages() {
  command -v qemu-aarch64-static &&
    ls $libraries/lib/libc.so.6 $libraries/lib/libgcc_s.so.1 ||
    debian qemu-user-static libc6-arm64-cross libgcc-s1-arm64-cross
}

emulate() { # PAGE_SIZE COMMAND...
  local size=$1
  shift
  SMRITI_EMULATED=1 qemu-aarch64-static -p "$size" -L $libraries \
    "$home/package/deno" "$@" </dev/null
}

# One seed for all page sizes: they must agree with the same model about the same steps.
export SMRITI_SEED=${SMRITI_SEED:-$RANDOM}
echo "SMRITI_SEED=$SMRITI_SEED"
# This machine's Deno downloads and compiles; the emulated one would need minutes
# for that, and cannot share the usual folder: both keep machine code there.
export DENO_DIR=$home/cache

mkdir -p "$home"
: >"$log"
attempt "installing qemu" packages
[[ -x $home/package/deno ]] || attempt "fetching Deno from npm" unpack "linux-arm64-glibc@$version" "$home"
files=("${tests[@]/#/tests/}")
files=("${files[@]/%/_test.ts}")
deno cache --quiet --frozen "${files[@]}"

sizes=("$@")
[[ $# -gt 0 ]] || sizes=(4096 16384 65536)
reports=()
summary=()
status=0
for size in "${sizes[@]}"; do
  printf '\n=== arm64 with pages of %s bytes\n' "$size"
  report=$home/$size.log
  reports+=("$report")
  emulate "$size" test "${flags[@]}" --cached-only "${files[@]}" |
    tee "$report" || status=1
  summary+=("$size: $(grep -o '[0-9]* passed.*' "$report" || echo died)")
done

printf '\n=== Not run, because emulation cannot do that:\n'
grep -h ' \.\.\. ignored' "${reports[@]}" | sed 's/ \.\.\. ignored.*//' | sort -u
printf '\n=== By page size:\n'
printf '%s\n' "${summary[@]}"
exit $status
