#!/bin/sh
# Makes sure that there are the clients with which tests/repo/clients_test.ts tries the
# examples, and says of each where it is. Debian's packages are installed for
# those that are not there, which needs root and apt-get. What is missing all the
# same is named; its tests are skipped.
set -u

missing() { # prints the packages of the clients that are not there
  for pair in curl:curl psql:postgresql-client redis-cli:redis-tools \
    openssl:openssl logger:bsdutils; do
    command -v "${pair%%:*}" >&2 || echo "${pair#*:}"
  done
}

packages=$(missing)
[ -z "$packages" ] && exit
{
  apt-get update
  # shellcheck disable=SC2086 # several words
  DEBIAN_FRONTEND=noninteractive apt-get install --yes \
    --no-install-recommends $packages
} >&2
packages=$(missing 2>/dev/null)
# shellcheck disable=SC2086 # on one line
[ -z "$packages" ] ||
  echo "!!! EXAMPLES NOT TESTED WITH THE CLIENTS OF:" $packages "(counted as skipped)"
