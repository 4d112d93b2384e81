#!/bin/sh
# Installs what the native contestants of the benches need, from Debian and npm, which takes root and
# apt-get: compilers, allocators, DPDK, Go, Node and Bun. What is here already stays; what cannot be
# had is named, and its contestants are left out of the report.
set -u
cd "$(dirname "$0")/../.."

packages="gcc libc6-dev pkg-config golang-go libmimalloc-dev libjemalloc-dev libdpdk-dev"
for package in $packages; do
  dpkg -s "$package" >/dev/null 2>&1 && continue
  { [ -n "${updated-}" ] || apt-get update -q; } </dev/null >&2
  updated=yes
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
    --no-install-recommends "$package" </dev/null >&2 ||
    echo "!!! NOT INSTALLED: $package (its contestants are left out)"
done
tools/runtimes.sh
