#!/usr/bin/env bash
# The test files that failed, by a log of `deno test`, one a line; none if what failed is not in one.
#   tools/failed.sh LOG
set -euo pipefail
failures=$(sed -n '/^ FAILURES/,/^FAILED/p' "$1" | sed '1d;$d' | grep . || true)
! grep -qvE '\./[^ :]+_test\.ts' <<<"$failures" || exit 0
grep -oE '\./[^ :]+_test\.ts' <<<"$failures" | sort -u
