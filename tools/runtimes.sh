#!/bin/sh
# Makes sure that there are the other runtimes and the bundler with which
# tests/repo/runtimes_test.ts tries the library, from npm, in .ci/.tools/runtimes.
# What cannot be had is named; its tests are skipped.
set -u
cd "$(dirname "$0")/.."

home=$PWD/.ci/.tools/runtimes
for package in node@24 bun@1.4 esbuild@0.25; do
  name=${package%@*}
  "$home/node_modules/.bin/$name" --version >/dev/null 2>&1 && continue
  mkdir -p "$home"
  npm install --prefix "$home" --no-audit --no-fund --loglevel=error "$package" </dev/null ||
    echo "!!! NOT TESTED WITH $name (counted as skipped)"
done
