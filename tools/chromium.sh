#!/bin/sh
# Makes sure that there is a Chromium for tests/repo/dashboard_test.ts and prints where: Debian's is
# installed if none is there, which needs root; what npm packages would download is never used.
set -eu

find_one() {
  command -v "${CHROMIUM:-chromium}" || command -v google-chrome
}

find_one && exit
apt-get update >&2
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium >&2
find_one
