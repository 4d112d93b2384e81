// How much of a range of addresses is in memory, as Linux tells under /proc. Ask `hasProc` first.

/** One mapping of this process. */
interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  readonly residentBytes: number;
}

function* mappings(): Generator<Mapping> {
  const smaps = Deno.readTextFileSync("/proc/self/smaps");
  const pattern = /^([0-9a-f]+)-([0-9a-f]+) [^]*?^Rss: +(\d+) kB/gm;
  for (const [, start, end, kilobytes] of smaps.matchAll(pattern)) {
    yield {
      start: BigInt(`0x${start}`),
      end: BigInt(`0x${end}`),
      residentBytes: Number(kilobytes) * 1024,
    };
  }
}

/** Resident bytes of the mappings that lie inside the range. */
export function residentIn(base: bigint, size: number): number {
  let sum = 0;
  for (const { start, end, residentBytes } of mappings()) {
    if (start >= base && end <= base + BigInt(size)) sum += residentBytes;
  }
  return sum;
}

/** Whether any mapping touches the range. */
export function isMapped(base: bigint, size: number): boolean {
  for (const { start, end } of mappings()) {
    if (start < base + BigInt(size) && end > base) return true;
  }
  return false;
}

/** Whether mappings cover the whole range. */
export function isCovered(base: bigint, size: number): boolean {
  let at = base;
  for (const { start, end } of mappings()) {
    if (start <= at && end > at) at = end;
  }
  return at >= base + BigInt(size);
}

/** What Linux notes about the mapping with this address: `dd` not dumped, `nh` no huge pages, … */
export function flagsOf(address: bigint): string[] {
  const smaps = Deno.readTextFileSync("/proc/self/smaps");
  const pattern = /^([0-9a-f]+)-([0-9a-f]+) [^]*?^VmFlags:(.*)$/gm;
  for (const [, start, end, flags] of smaps.matchAll(pattern)) {
    if (BigInt(`0x${start}`) <= address && address < BigInt(`0x${end}`)) {
      return flags.trim().split(" ");
    }
  }
  return [];
}

/** Resident bytes of the whole process, less pages of files, which come and go as the system likes. */
export function residentBytes(): number {
  const rollup = Deno.readTextFileSync("/proc/self/smaps_rollup");
  return Number(rollup.match(/^Anonymous: +(\d+) kB/m)![1]) * 1024;
}

/** Resident bytes of ranges of this size, whatever mappings they are in. */
export function residentAt(starts: Iterable<bigint>, size: number): number {
  const page = 4096;
  const entries = new BigUint64Array(size / page);
  using table = Deno.openSync("/proc/self/pagemap");
  let pages = 0;
  for (const start of starts) {
    table.seekSync(start / BigInt(page) * 8n, Deno.SeekMode.Start);
    const bytes = new Uint8Array(entries.buffer);
    for (let at = 0; at < bytes.length;) {
      const read = table.readSync(bytes.subarray(at));
      if (read === null) throw new Error("the table of pages ends");
      at += read;
    }
    // The highest bit says whether the page is in memory.
    for (const entry of entries) if (entry >> 63n === 1n) pages++;
  }
  return pages * page;
}
