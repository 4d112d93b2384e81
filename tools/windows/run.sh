#!/usr/bin/env bash
# Runs the Windows x64 build of Deno under Wine, in the current folder:
#   tools/windows/run.sh test -A tests/
#
# The first call installs Wine and a C compiler from Debian's packages and
# deno.exe from npm, which takes a minute or two; later ones start at once. Ends
# with 77 where that is not possible: no Wine here, nothing was tested. Wine is
# not Windows: docs/porting.md says what a green run does not prove.
set -euo pipefail

# The newest that npm has for win32-x64.
version=2.9.5
here=$(cd "$(dirname "$0")" && pwd)
home=${XDG_CACHE_HOME:-$HOME/.cache}/smriti/windows-x64-$version
deno=$home/package/deno.exe
log=$home/setup.log

export WINEPREFIX=$home/prefix WINEARCH=win64 WINEDEBUG=-all
# No offers to download .NET and a browser, and our own DLL before Wine's.
export WINEDLLOVERRIDES='mscoree,mshtml=;bcryptprimitives=n,b'
where="ON WINDOWS"
# shellcheck source=tools/setup.sh
source "$here/../setup.sh"

packages() {
  command -v wine && command -v x86_64-w64-mingw32-gcc ||
    debian wine wine64 gcc-mingw-w64-x86-64
}

prefix() {
  wineboot-stable -i &&
    # A crash ends the process at once, instead of asking for a debugger.
    wine reg add 'HKLM\Software\Microsoft\Windows NT\CurrentVersion\AeDebug' \
      /v Debugger /t REG_SZ /d false /f
}

mkdir -p "$home"
exec 9>"$home/lock"
flock 9
if [[ ! -e $home/ready ]]; then
  echo "Setting up Deno $version for Windows and Wine in $home" >&2
  : >"$log"
  attempt "installing Wine" packages
  attempt "fetching deno.exe from npm" unpack "win32-x64@$version" "$home"
  attempt "preparing Wine" prefix
  touch "$home/ready"
fi
# A compiler's refusal is a mistake of ours, not of the machine.
dll=$home/package/bcryptprimitives.dll
if [[ $here/startup.c -nt $dll ]]; then
  x86_64-w64-mingw32-gcc -shared -O2 -s -Wall -Werror \
    -o "$dll.new" "$here/startup.c" -ladvapi32
  mv "$dll.new" "$dll"
fi
exec 9>&-

exec wine "$deno" "$@" </dev/null
