// The Windows backend: which calls it makes, what it makes of a refusal, and that a pool keeps its
// promises over memory that comes back with bytes that were never written. kernel32.dll is played by the memory
// of this system; where it is Windows, the real one has the suite that runs over every backend.

import { Buffer } from "node:buffer";
import { assert, assertEquals } from "@std/assert";
import { BlockPool, type Safety } from "@smriti/pool";
import type { Backend, Range } from "../../ffi/backend.ts";
import { openNative, replaceNative } from "../../ffi/open.ts";
import { WindowsBackend } from "../../ffi/windows.ts";
import { playKernel32 } from "../support/kernel32.ts";
import { lawful } from "../support/invariants.ts";
import { refused, takeAll } from "../support/misuse.ts";
import { freePlace } from "../support/addresses.ts";
import { hasNative } from "../support/platform.ts";

const SIZE = 1024 * 1024;
const COMMITS = 64 * 1024;
/** From here on, no other mapping is looked for. */
const PLACES = 0x1237_6a1c_0000n;

function windows(name: string, fn: () => void | Promise<void>): void {
  Deno.test(`Windows: ${name}`, { ignore: !hasNative }, fn);
}

function played(discards = true) {
  const play = playKernel32(openNative() as Backend, discards);
  const backend = new WindowsBackend(play.kernel32);
  return { ...play, play, backend };
}

/** A range whose first bytes are committed and hold sevens. */
function filled(backend: Backend): { range: Range; bytes: Uint8Array } {
  const range = backend.map(SIZE, backend.abilities.pageSize) as Range;
  assertEquals(backend.commit(range, 0, COMMITS, false), 0);
  const bytes = new Uint8Array(backend.view(range, 0, COMMITS));
  return { range, bytes: bytes.fill(7) };
}

function end(backend: Backend, range: Range, bytes: Uint8Array): void {
  bytes.buffer instanceof ArrayBuffer && bytes.buffer.transfer(0);
  assertEquals(backend.unmap(range), 0);
}

windows("pages and abilities are what the system says", () => {
  const { pageSize } = (openNative() as Backend).abilities;
  for (const discards of [true, false]) {
    assertEquals(played(discards).backend.abilities, {
      pageSize,
      hugePageSize: 0,
      zeroedOnRecommit: !discards,
      protects: true,
      prefaults: false,
      hasAddresses: true,
    });
  }
});

windows("reserve, commit and release are one call each", () => {
  const { backend, calls } = played();
  const { range, bytes } = filled(backend);
  end(backend, range, bytes);
  assertEquals(calls, [
    `VirtualAlloc RESERVE 1 ${SIZE}`,
    `VirtualAlloc COMMIT 4 ${COMMITS}`,
    "VirtualFree RELEASE 0",
  ]);
});

windows("an alignment above the granularity is paid with address space", () => {
  const { backend } = played();
  const alignment = 2 * SIZE;
  const range = backend.map(SIZE, alignment) as Range;
  assertEquals(range.base % BigInt(alignment), 0n);
  assertEquals(range.mappedSize, SIZE + alignment);
  assert(range.base >= range.mappedBase);
  assert(range.base - range.mappedBase <= alignment);
  assertEquals(backend.unmap(range), 0);
});

windows("memory goes back by a discard, and stays accessible", () => {
  const { backend, calls } = played();
  const { range, bytes } = filled(backend);
  calls.length = 0;
  assertEquals(backend.decommit(range, 0, COMMITS), 0);
  assertEquals(calls, [`DiscardVirtualMemory ${COMMITS}`]);
  bytes[0] = 1;
  assertEquals(bytes[0], 1);
  end(backend, range, bytes);
});

windows(
  "without a discard, or if it is refused, memory is freed and committed again",
  () => {
    for (const discards of [true, false]) {
      const { backend, calls, refuse } = played(discards);
      const { range, bytes } = filled(backend);
      calls.length = 0;
      refuse.add("DiscardVirtualMemory");
      assertEquals(backend.decommit(range, 0, COMMITS), 0);
      assertEquals(calls.slice(discards ? 1 : 0), [
        `VirtualFree DECOMMIT ${COMMITS}`,
        `VirtualAlloc COMMIT 4 ${COMMITS}`,
      ]);
      assertEquals(bytes, new Uint8Array(COMMITS));
      end(backend, range, bytes);
    }
  },
);

windows(
  "memory that cannot be had back at once has gone back all the same",
  () => {
    const { backend, refuse } = played(false);
    const { range, bytes } = filled(backend);
    refuse.add("VirtualAlloc COMMIT");
    assertEquals(backend.decommit(range, 0, COMMITS), 0);
    assertEquals(backend.commit(range, 0, COMMITS), 1455);
    refuse.clear();
    assertEquals(backend.commit(range, 0, COMMITS), 0);
    end(backend, range, bytes);
  },
);

windows("each refusal is the system's number, or -1 if it has none", () => {
  for (const error of [8, 0]) {
    const { backend, refuse, play } = played(false);
    const { range, bytes } = filled(backend);
    play.error = error;
    const code = error || -1;
    refuse.add("Virtual");
    assertEquals(backend.map(SIZE, 4096), code);
    assertEquals(backend.commit(range, 0, COMMITS), code);
    assertEquals(backend.decommit(range, 0, COMMITS), code);
    assertEquals(backend.protect(range, 0, COMMITS, false), code);
    assertEquals(backend.unmap(range), code);
    assert(bytes.every((byte) => byte === 7), "nothing has happened");
  }
});

windows("protecting and unprotecting keeps the bytes", () => {
  const { backend, calls } = played();
  const { range, bytes } = filled(backend);
  calls.length = 0;
  assertEquals(backend.protect(range, 0, COMMITS, false), 0);
  assertEquals(backend.protect(range, 0, COMMITS, true), 0);
  assertEquals(calls, [
    `VirtualProtect 1 ${COMMITS}`,
    `VirtualProtect 4 ${COMMITS}`,
  ]);
  assert(bytes.every((byte) => byte === 7));
  end(backend, range, bytes);
});

windows("a range at an address is one call, and is found by its mark", () => {
  const { backend, calls, refuse } = played();
  const place = freePlace(openNative() as Backend, PLACES);
  assertEquals(backend.findAt(place, COMMITS), undefined);
  refuse.add("VirtualAlloc BOTH");
  assertEquals(backend.mapAt(place, COMMITS), 1455);
  refuse.clear();
  calls.length = 0;
  const range = backend.mapAt(place, COMMITS) as Range;
  assertEquals(calls, [`VirtualAlloc BOTH 4 ${COMMITS}`]);
  assertEquals(backend.findAt(place, COMMITS), range);
  assert(typeof backend.mapAt(place, COMMITS) === "number", "it is taken");
  const view = backend.view(range, 0, COMMITS);
  new Uint8Array(view)[15]++;
  assertEquals(backend.findAt(place, COMMITS), undefined, "another mark");
  view.transfer(0);
  assertEquals(backend.unmap(range), 0);
  const reserved = backend.map(SIZE, 4096) as Range;
  assertEquals(backend.findAt(reserved.base, COMMITS), undefined);
  assertEquals(backend.unmap(reserved), 0);
});

windows("views and pointers are where they should be", () => {
  const { backend } = played();
  const { range, bytes } = filled(backend);
  const { value } = Deno.UnsafePointer;
  assertEquals(value(backend.pointer(range, 4096)), range.base + 4096n);
  const buffer = bytes.buffer as ArrayBuffer;
  assert(backend.isAt(range, 0, buffer));
  assert(!backend.isAt(range, 4096, buffer));
  end(backend, range, bytes);
});

windows("a thread is known by a handle, opened once", () => {
  const { backend, play } = played();
  const { threads } = backend;
  assertEquals(threads.current(), 28);
  play.thread = 0n;
  assertEquals(threads.current(), 28, "opened before");
  assertEquals(threads.isAlive(28), false);
  play.thread = 28n;
  assertEquals([28, 32].map(threads.isAlive), [true, false]);

  play.thread = 0n;
  assertEquals(new WindowsBackend(play.kernel32).threads.current(), 0);
});

windows(
  "a fence in all threads is that of the system, and none is Wine's, which does nothing",
  () => {
    const { play, backend } = played();
    let fences = 0;
    const kernel32 = {
      ...play.kernel32,
      FlushProcessWriteBuffers: () => void fences++,
    };
    assertEquals([new WindowsBackend(kernel32).fence?.(), fences], [0, 1]);
    assert(backend.fence !== undefined);
    const wine = { ...kernel32, wine_get_unix_file_name: () => null };
    assertEquals(new WindowsBackend(wine).fence, undefined);
  },
);

windows("errors have names", () => {
  const { backend } = played();
  assertEquals(backend.errorName(1455), "ERROR_COMMITMENT_LIMIT");
  assertEquals(backend.errorName(12345), "error 12345");
  assertEquals(backend.prefault(), 0);
});

function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, new Uint8Array(bytes.length)) === 0;
}

/** Takes, fills and trims a pool over and over; every block must come zeroed. */
async function useAndTrim(blockSize: number, safety: Safety): Promise<void> {
  const pool = new BlockPool({
    blockSize,
    maxBlocks: 24,
    initialBlocks: 1,
    safety,
  });
  for (let round = 1; round < 4; round++) {
    const blocks = takeAll(pool);
    for (const [i, { bytes }] of blocks.entries()) {
      assert(isZero(bytes), `${i} in round ${round}`);
      bytes.fill(round);
    }
    for (const block of blocks) block.release();
    assert(pool.trim() > 0);
    lawful(pool);
  }
  const blocks = takeAll(pool);
  const { value, of } = Deno.UnsafePointer;
  for (const block of blocks) {
    const { pointer } = block;
    assertEquals(value(of(block.bytes)), value(pointer));
    assert(isZero(block.bytes), "before its pointer");
    block.release();
  }
  await pool.close();
  assertEquals(pool.stats().mappedBytes, 0);
}

for (const discards of [true, false]) {
  const how = discards ? "discards" : "decommits";
  for (const safety of ["trust", "revoke", "strict"] satisfies Safety[]) {
    windows(
      `a pool that ${how} never shows old bytes (${safety})`,
      async () => {
        const { backend, calls } = played(discards);
        const restore = replaceNative(backend);
        try {
          // Several slots in a page, one, and one that does not fill its pages.
          for (const pages of [0.25, 1, 2.5]) {
            const blockSize = pages * backend.abilities.pageSize;
            await useAndTrim(blockSize, safety);
          }
        } finally {
          restore();
        }
        const word = discards ? "DiscardVirtualMemory" : "VirtualFree DECOMMIT";
        assert(calls.some((call) => call.startsWith(word)), "memory went back");
      },
    );
  }
}

windows("memory refused to a pool is an answer, and comes later", async () => {
  const { backend, refuse } = played(false);
  const restore = replaceNative(backend);
  try {
    refuse.add("VirtualAlloc RESERVE");
    const { pageSize: blockSize } = backend.abilities;
    const make = () =>
      new BlockPool({ blockSize, maxBlocks: 8, initialBlocks: 4 });
    const error = refused("out-of-memory", make);
    assertEquals(error.cause, {
      call: "map",
      bytes: 8 * blockSize,
      error: "ERROR_COMMITMENT_LIMIT",
    });
    refuse.clear();
    const pool = make();
    const first = pool.acquireSync();
    first.bytes.fill(7);

    refuse.add("VirtualAlloc COMMIT");
    const some = takeAll(pool);
    assertEquals(some.length, 3);
    assert(lawful(pool).growFailures > 0);
    assert(first.bytes.every((byte) => byte === 7));
    refuse.clear();
    some.push(...takeAll(pool));
    assertEquals(some.length, 7);

    for (const block of some) block.release();
    refuse.add("VirtualAlloc COMMIT");
    assert(pool.trim() > 0);
    refuse.clear();
    const again = takeAll(pool);
    assertEquals(again.length, 7);
    for (const { bytes } of again) assert(isZero(bytes));
    for (const block of again) block.release();
    first.release();
    await pool.close();
  } finally {
    restore();
  }
});
