#!/usr/bin/env bash
# Runs the backends and the core of the pool with the Linux arm64 build of Deno
# under qemu-user, once for each page size:
#   tools/arm64/run.sh [PAGE_SIZE...]        default: 4096 16384 65536
#
# The first call installs qemu and arm64's C library from Debian's packages and
# Deno from npm; ends with 77 where that is not possible. Emulation is some 50
# times slower than the machine, so nothing is type-checked here.
# docs/porting.md says what a green run does not prove.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The newest that npm has for linux-arm64-glibc.
version=2.9.5
home=${XDG_CACHE_HOME:-$HOME/.cache}/smriti/linux-arm64-$version
log=$home/setup.log
libraries=/usr/aarch64-linux-gnu
tests=(
  tests/backend_test.ts
  tests/heap_test.ts
  tests/windows_test.ts
  tests/region_test.ts
  tests/slots_test.ts
  tests/acquire_test.ts
  tests/isolation_test.ts
  tests/revoke_test.ts
)

packages() {
  command -v qemu-aarch64-static && ls $libraries/lib/lib{c,gcc_s}.so.* && return
  apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
      --no-install-recommends qemu-user-static libc6-arm64-cross \
      libgcc-s1-arm64-cross
}

unpack() {
  (
    cd "$home" && npm pack --silent "@deno/linux-arm64-glibc@$version" &&
      tar xzf "deno-linux-arm64-glibc-$version.tgz" &&
      rm "deno-linux-arm64-glibc-$version.tgz"
  )
}

attempt() { # WHAT COMMAND...
  local what=$1
  shift
  "$@" </dev/null >>"$log" 2>&1 && return
  {
    echo "!!! NOT TESTED ON ARM64: $what failed; the end of $log:"
    tail -n 15 "$log"
  } >&2
  exit 77
}

export NO_COLOR=1 DENO_NO_UPDATE_CHECK=1
# What this machine's Deno downloads and the emulated one then reads: its own
# network and compiler would take minutes.
export DENO_DIR=$home/cache

mkdir -p "$home"
: >"$log"
attempt "installing qemu" packages
if [[ ! -x $home/package/deno ]]; then
  attempt "fetching Deno for arm64 from npm" unpack
fi
deno cache --quiet --frozen "${tests[@]}"

report=$home/report.log
status=0
for size in "${@:-4096 16384 65536}"; do :; done
