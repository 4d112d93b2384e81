#!/usr/bin/env bash
# Runs the core's tests on the older versions of Deno that are supported, and
# type-checks a strict consumer on each; the newest one runs everything else.
#   tools/versions.sh [VERSION...]        default: 2.5.0 2.7.14
#
# Each comes from npm. Ends with 77 where that is not possible: nothing was
# tested. docs/versions.md says what differs between them.
set -uo pipefail
cd "$(dirname "$0")/.."

# The core: ffi/ and pool/, in the files of tests/ that do not take minutes. Not
# here, and why:
#   pool/{fault_injection,leaks,stack_end,abandoned_refused,footprint} random/fuzz
#   process/{memory,abandoned_memory,mappings}   minutes of the same code
#   process/garbage_collection    counts collections: V8 before 2.9 makes up to two more (docs/versions.md)
#   the rest of process/          other Denos are run, or the kernel is waited for
#   shared/ io/ lint/ otel/ repo/ not the core; run on the newest alone
# What a single test cannot do on a version stands in tests/support/platform.ts.
core=(
  ffi/{backend,heap}
  pool/{abandoned,acquire,acquire_many,bitmap,byob,channel,close,detached_buffers}
  pool/{events,growth,histogram,isolation,lend,memory_limit,misuse,options}
  pool/{os_refusals,overdue,pressure,region,reserved,revoke,scaling,shrink}
  pool/{size_class_pool,slots,stalls,strict,untransferable,waiters}
  process/{permission,resource_limits} random/model
)
files=("${core[@]/#/tests/}")
files=("${files[@]/%/_test.ts}")

home=${XDG_CACHE_HOME:-$HOME/.cache}/smriti/versions
export NO_COLOR=1 DENO_NO_UPDATE_CHECK=1
# Older versions do not know node's name for it.
[[ -n ${NODE_EXTRA_CA_CERTS:-} ]] && export DENO_CERT=${DENO_CERT:-$NODE_EXTRA_CA_CERTS}

# The packages that the newest Deno has fetched serve all: older ones know fewer
# ways to trust a proxy.
shared() {
  deno cache --quiet --frozen "${files[@]}"
  deno info --json | grep -o '"npmCache": *"[^"]*' | cut -d'"' -f4
}

fetch() { # VERSION
  [[ -x $home/$1/node_modules/.bin/deno ]] && return
  mkdir -p "$home/$1"
  npm install --prefix "$home/$1" --no-save --no-audit --no-fund \
    --loglevel=error "deno@$1" </dev/null
}

test_on() { # VERSION
  mkdir -p "$home/$1/cache"
  ln -sfn "$npm" "$home/$1/cache/npm"
  DENO_DIR=$home/$1/cache "$home/$1/node_modules/.bin/deno" test -A --no-check \
    --frozen --cached-only "${files[@]}" tests/process/consumer_test.ts \
    </dev/null >"$home/$1.log" 2>&1
}

versions=("$@")
[[ $# -gt 0 ]] || versions=(2.5.0 2.7.14)
npm=$(shared)
for version in "${versions[@]}"; do
  fetch "$version" && continue
  echo "!!! NOT TESTED ON DENO $version: npm does not give it" >&2
  exit 77
done
# Side by side: most tests wait for something most of the time.
running=()
for version in "${versions[@]}"; do
  test_on "$version" &
  running+=("$!")
done
status=0
for at in "${!versions[@]}"; do
  wait "${running[$at]}" && continue
  status=1
  sed -n '/^ ERRORS/,$p' "$home/${versions[$at]}.log"
done
printf '\n=== By version:\n'
for version in "${versions[@]}"; do
  echo "$version: $(grep -oE '[0-9]+ passed.*' "$home/$version.log" || echo died)"
done
exit "$status"
