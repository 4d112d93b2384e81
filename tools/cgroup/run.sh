#!/usr/bin/env bash
# Runs tools/cgroup/inside.ts in a real control group of 300 MB: under qemu, with
# a kernel of Debian's whose memory controller is on, because few machines let a
# program limit itself.
#   tools/cgroup/run.sh
#
# The first call installs qemu and fetches a kernel and busybox from Debian's
# packages. Takes some minutes. Ends with 77 where that is not possible: nothing
# was tested.
set -euo pipefail
cd "$(dirname "$0")/../.."

limit=${SMRITI_LIMIT:-314572800}
home=${XDG_CACHE_HOME:-$HOME/.cache}/smriti/cgroup
log=$home/setup.log
root=$home/root
export DENO_DIR=$home/cache
where="IN A CONTROL GROUP"
# shellcheck source=tools/setup.sh
source tools/setup.sh

packages() {
  command -v qemu-system-x86_64 && command -v cpio || debian qemu-system-x86 cpio
}

kernel() {
  compgen -G "$home/packages/boot/vmlinuz-*" && return
  local name
  apt-get update -q
  name=$(apt-cache depends linux-image-cloud-amd64 |
    sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
  (
    cd "$home" && apt-get download "$name" busybox-static &&
      for each in *.deb; do dpkg -x "$each" packages; done && rm ./*.deb
  )
}

# A root file system in memory: busybox, this Deno with its libraries, the sources.
image() {
  rm -rf "$root" && mkdir -p "$root"/{bin,proc,sys,tmp,dev,smriti/tools}
  cp "$home"/packages/bin/busybox "$root/bin/busybox"
  local deno
  deno=$(deno eval 'console.log(Deno.execPath())')
  cp "$deno" "$root/bin/deno"
  ldd "$deno" | grep -oE '/[^ ]+' | while read -r library; do
    install -D "$library" "$root$library"
  done
  deno cache --quiet --no-config tools/cgroup/inside.ts
  cp -r mod.ts ffi pool "$root/smriti/"
  cp -r tools/cgroup "$root/smriti/tools/"
  cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp DENO_DIR=/tmp/deno NO_COLOR=1 DENO_NO_UPDATE_CHECK=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup /sys/fs/cgroup
cd /sys/fs/cgroup
echo +memory >cgroup.subtree_control
for flags in "" pressure alone prefault; do
  mkdir run\$flags
  echo $limit >run\$flags/memory.max
  # Beneath the limit there is room in which the kernel slows the group down and counts it.
  case "\$flags" in pressure | alone) echo $((limit * 9 / 10)) >run\$flags/memory.high ;; esac
  echo "--- inside.ts \$flags"
  sh -c "echo \\\$\\\$ >run\$flags/cgroup.procs
    exec timeout -s KILL 300 deno run --allow-all --no-config --no-check /smriti/tools/cgroup/inside.ts \$flags" </dev/null
  echo "--- ended with \$?; \$(grep -E '^(high|max|oom_kill) ' run\$flags/memory.events | tr '\n' ' ')"
done
poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$home/image"
}

run() {
  # Emulated: /dev/kvm of a machine that is virtual itself may not work.
  timeout 900 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
    -kernel "$home"/packages/boot/vmlinuz-* -initrd "$home/image" \
    -append "console=ttyS0 quiet panic=-1 psi=1" \
    -nographic -no-reboot -nodefaults -serial stdio </dev/null
}

mkdir -p "$home"
: >"$log"
attempt "installing qemu" packages
attempt "fetching a kernel" kernel
attempt "making the image" image
report=$home/report.log
run | tr -d '\r' | tee "$report"

# What must be true in the end.
status=0
expect() { # WHAT PATTERN
  grep -qE "$2" "$report" && return
  echo "!!! $1"
  status=1
}
expect "the limit is not known" "limit: .*$limit.*cgroup"
expect "the pool did not say that it is oversized" 'pool .* can come to 536870912 bytes'
expect "prefault was not refused" 'prefault: out-of-memory'
expect "nothing was given back under pressure" 'pressure: [1-9]'
expect "without the trim it was not killed" '^--- ended with 137; '
[[ $(grep -cE '^--- ended with 0; .*oom_kill 0' "$report") == 3 ]] || status=1
exit $status
