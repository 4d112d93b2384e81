#!/bin/sh
# Makes sure that there is a Chromium for tests/dashboard_test.ts and prints
# where. Debian's is installed if none is there, which needs root and apt-get;
# browsers that npm packages would download are never used.
set -eu

find_one() {
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if [ -n "$name" ] && command -v "$name"; then return; fi
  done
  return 1
}

find_one && exit
{
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install --yes \
    --no-install-recommends chromium
} >&2
find_one
