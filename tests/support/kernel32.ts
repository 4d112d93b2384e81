// Plays kernel32.dll with the memory of whatever system this is, so that the Windows backend runs
// everywhere and can be refused what Windows hardly ever refuses.

import type { Backend, Range } from "../../ffi/backend.ts";
import type { Kernel32 } from "../../ffi/windows.ts";

const GRANULARITY = 65_536;
const INVALID_PARAMETER = 87;
const WORDS: Record<number, string> = {
  0x1000: "COMMIT",
  0x2000: "RESERVE",
  0x3000: "BOTH",
};

/** What a test may set of a {@linkcode playKernel32}. */
export interface Play {
  /** Every call, as `VirtualFree DECOMMIT 4096`. */
  readonly calls: string[];
  /** Calls that start so are refused with `error`. */
  readonly refuse: Set<string>;
  /** What `GetLastError` answers after a refusal. */
  error: number;
  /** The handle of the only thread that runs, or 0 if none can be opened. */
  thread: bigint;
  /** The functions. */
  readonly kernel32: Kernel32;
}

/** Makes one. With `discards`, discarded memory is filled with what was never written. */
export function playKernel32(memory: Backend, discards: boolean): Play {
  const calls: string[] = [];
  const refuse = new Set<string>();
  const ranges = new Map<bigint, Range>();
  /** Those reserved and committed by one call. */
  const whole = new Set<bigint>();
  let last = 0;

  function isRefused(call: string, size: number | bigint): boolean {
    const line = `${call} ${size}`;
    calls.push(line);
    const is = [...refuse].some((start) => line.startsWith(start));
    if (is) last = play.error;
    return is;
  }

  /** Does something to the bytes from an address, inside the range that has it. */
  function at(
    address: number | bigint,
    size: number | bigint,
    act: (range: Range, offset: number, size: number) => number,
  ): number {
    const start = BigInt(address);
    for (const range of ranges.values()) {
      const offset = Number(start - range.mappedBase);
      if (offset < 0 || offset + Number(size) > range.size) continue;
      return act(range, offset, Number(size));
    }
    return INVALID_PARAMETER;
  }

  const kernel32: Kernel32 = {
    VirtualAlloc(address, size, type, access) {
      const word = WORDS[type];
      if (isRefused(`VirtualAlloc ${word} ${access}`, size)) return 0n;
      if (word === "BOTH") {
        const range = memory.mapAt(BigInt(address), Number(size));
        if (typeof range === "number") return 0n;
        // The backend marks it itself.
        const view = memory.view(range, 0, 16);
        new Uint8Array(view).fill(0);
        view.transfer(0);
        ranges.set(range.base, range);
        whole.add(range.base);
        return range.base;
      }
      if (type === 0x2000) {
        const range = memory.map(Number(size), memory.abilities.pageSize);
        if (typeof range === "number") return 0n;
        ranges.set(range.base, range);
        return range.base;
      }
      last = at(
        address,
        size,
        (range, offset, size) => memory.commit(range, offset, size, false),
      );
      return last === 0 ? BigInt(address) : 0n;
    },
    VirtualFree(address, size, type) {
      const word = type === 0x4000 ? "DECOMMIT" : "RELEASE";
      if (isRefused(`VirtualFree ${word}`, size)) return 0;
      if (type === 0x4000) {
        last = at(address, size, memory.decommit.bind(memory));
      } else {
        const range = ranges.get(BigInt(address));
        last = range === undefined ? INVALID_PARAMETER : memory.unmap(range);
        ranges.delete(BigInt(address));
      }
      return last === 0 ? 1 : 0;
    },
    VirtualProtect(address, size, access, before) {
      if (isRefused(`VirtualProtect ${access}`, size)) return 0;
      if (before?.byteLength !== 4) throw new TypeError("no room for before");
      last = at(
        address,
        size,
        (range, offset, size) =>
          memory.protect(range, offset, size, access === 4),
      );
      return last === 0 ? 1 : 0;
    },
    VirtualQuery(address, info) {
      const { buffer, byteOffset, byteLength } = info as Uint8Array;
      const fields = new DataView(buffer, byteOffset, byteLength);
      const isWhole = whole.has(BigInt(address));
      const isReserved = ranges.has(BigInt(address));
      const state = isWhole ? 0x1000 : isReserved ? 0x2000 : 0x10000;
      fields.setUint32(32, state, true);
      fields.setUint32(36, isWhole ? 4 : 0, true);
      // The end of the structure has to have room, too.
      fields.setUint32(44, 0, true);
      return 48n;
    },
    DiscardVirtualMemory: discards
      ? (address, size) => {
        if (isRefused("DiscardVirtualMemory", size)) return play.error;
        return at(address, size, (range, offset, size) => {
          const bytes = memory.view(range, offset, size);
          new Uint8Array(bytes).fill(0xdd);
          bytes.transfer(0);
          return 0;
        });
      }
      : null,
    EncodePointer: (buffer) =>
      ~BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer!))) &
      0xffff_ffff_ffff_ffffn,
    DecodePointer: (encoded) => ~BigInt(encoded) & 0xffff_ffff_ffff_ffffn,
    GetCurrentThreadId: () => 7,
    OpenThread: (_access, _inherit, id) => play.thread && BigInt(4 * id),
    WaitForSingleObject: (handle) => handle === play.thread ? 0x102 : 0,
    GetSystemInfo(info) {
      const { buffer, byteOffset, byteLength } = info as Uint8Array;
      const fields = new DataView(buffer, byteOffset, byteLength);
      fields.setUint32(4, memory.abilities.pageSize, true);
      fields.setUint32(40, GRANULARITY, true);
      // The end of the structure has to have room, too.
      fields.setUint32(44, 0, true);
    },
    FlushProcessWriteBuffers: () => void memory.fence?.(),
    wine_get_unix_file_name: null,
    GetLastError: () => last,
  };

  const play: Play = { calls, refuse, error: 1455, thread: 28n, kernel32 };
  return play;
}
