// How many mappings a range of addresses is cut into, as Linux tells under /proc. Ask `hasProc`
// first. Each costs the process one of `vm.max_map_count`; V8 ends the process when they run out.

/** Mappings that touch the range. */
export function mappingsIn(base: bigint, size: number): number {
  const maps = Deno.readTextFileSync("/proc/self/maps");
  let count = 0;
  for (const [, from, to] of maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm)) {
    const isInside = BigInt(`0x${from}`) < base + BigInt(size) &&
      BigInt(`0x${to}`) > base;
    if (isInside) count++;
  }
  return count;
}
