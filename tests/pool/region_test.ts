// One mapped range cut into slots: where they lie, what their views show, and when they end.

import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertNotStrictEquals,
  assertThrows,
} from "@std/assert";
import type { Backend } from "../../ffi/backend.ts";
import { openNative } from "../../ffi/open.ts";
import { fillOptions, type PoolOptions } from "../../pool/options.ts";
import { Region } from "../../pool/region.ts";
import { hasNative, hasProc } from "../support/platform.ts";
import { isMapped } from "../support/resident.ts";
import { unmapsParts } from "../support/unmaps_parts.ts";

/** A region of 8 slots of a page each, unmapped when disposed. */
function made(options: Partial<PoolOptions> = {}): Region & Disposable {
  const region = new Region(
    fillOptions({
      blockSize: abilities().pageSize,
      maxBlocks: 8,
      ...options,
    }),
  );
  return Object.assign(region, { [Symbol.dispose]: () => region.unmap() });
}

function abilities(): Backend["abilities"] {
  return (openNative() as Backend).abilities;
}

/** Puts memory behind every slab. */
function commitAll(region: Region): void {
  const { slabs } = region;
  for (let first = 0; first < slabs;) {
    const run = region.lowest({ first, count: slabs - first });
    assertEquals(region.commit(run), undefined);
    first += run.count;
  }
}

const native = (title: string, fn: () => void | Promise<void>) =>
  Deno.test({ name: title, ignore: !hasNative, fn });

native("a slot takes whole lines, or whole pages from one page on", () => {
  const { pageSize } = abilities();
  const expected: [blockSize: number, stride: number][] = [
    [1, 64],
    [10, 64],
    [63, 64],
    [64, 64],
    [65, 128],
    [1000, 1024],
    [pageSize - 1, pageSize],
    [pageSize, pageSize],
    [pageSize + 1, 2 * pageSize],
    [65_536, 65_536],
    [100_000, Math.ceil(100_000 / pageSize) * pageSize],
  ];
  for (const [blockSize, stride] of expected) {
    using region = made({ blockSize });
    assertEquals(region.stride, stride, `${blockSize} bytes`);
  }
});

native("a slab is the fewest slots that fill whole pages", () => {
  const { pageSize } = abilities();
  for (const blockSize of [1, 64, 65, 150, 3000, pageSize, 3 * pageSize + 1]) {
    using region = made({ blockSize });
    const { stride, slabSlots, slabBytes } = region;
    assertEquals(slabBytes, stride * slabSlots);
    assertEquals(slabBytes % pageSize, 0);
    for (let fewer = 1; fewer < slabSlots; fewer++) {
      assert(stride * fewer % pageSize !== 0, `${fewer} of ${blockSize} bytes`);
    }
  }
});

native(
  "with huge pages a slab fills whole ones, and the region is aligned",
  () => {
    const { hugePageSize } = abilities();
    if (hugePageSize === 0) return;
    for (
      const blockSize of [64, 4096, 65_536, hugePageSize, hugePageSize + 1]
    ) {
      using region = made({ blockSize, hugePages: true, maxBlocks: 3 });
      const first = Deno.UnsafePointer.value(region.pointer(0));
      assertEquals(BigInt(first) % BigInt(hugePageSize), 0n);
    }
  },
);

native(
  "with huge pages a slab is one, or one slot in as many as it takes",
  () => {
    const { pageSize, hugePageSize } = abilities();
    if (hugePageSize === 0) return;
    const sizes = [1, 64, 65, 4096, 4112, 5000, 12_288, 65_552, 700_000]
      .concat(hugePageSize / 2 + 16, hugePageSize - 1, hugePageSize)
      .concat(hugePageSize + 1, 3 * hugePageSize - pageSize);
    for (const blockSize of sizes) {
      for (const maxBlocks of [1, 3, 16, 1000]) {
        const told = `${maxBlocks} of ${blockSize} bytes`;
        using region = made({ blockSize, hugePages: true, maxBlocks });
        const { stride, slabSlots, slabBytes, mappedBytes } = region;
        const pages = Math.ceil(blockSize / hugePageSize);
        assertEquals(slabBytes, pages * hugePageSize, told);
        // As many as fit, each apart from the next, and none across the end of a slab.
        assertEquals(slabSlots, Math.floor(slabBytes / stride), told);
        assertGreaterOrEqual(stride, blockSize, told);
        assertEquals(mappedBytes, Math.ceil(maxBlocks / slabSlots) * slabBytes);
        const base = BigInt(Deno.UnsafePointer.value(region.pointer(0)));
        for (let slot = 0; slot < maxBlocks; slot++) {
          const at = BigInt(Deno.UnsafePointer.value(region.pointer(slot)));
          const slab = Math.floor(slot / slabSlots);
          const place = slot % slabSlots;
          assertEquals(Number(at - base), slab * slabBytes + place * stride);
        }
      }
    }
  },
);

native("the map holds every slot, and no more than a slab too much", () => {
  for (
    const [blockSize, maxBlocks] of [[1, 1], [10, 65], [4096, 7], [5000, 3]]
  ) {
    using region = made({ blockSize, maxBlocks });
    assertGreaterOrEqual(region.mappedBytes, maxBlocks * region.stride);
    assert(region.mappedBytes < maxBlocks * region.stride + region.slabBytes);
  }
});

native(
  "view() is an ArrayBuffer of exactly the slot, not of its neighbours",
  () => {
    for (const blockSize of [1, 10, 100, 4096, 5000]) {
      using region = made({ blockSize, maxBlocks: 8 });
      const slabs = Math.ceil(8 / region.slabSlots);
      assertEquals(region.commit({ first: 0, count: slabs }), undefined);
      const views = Array.from({ length: 8 }, (_, slot) => region.view(slot));
      views.forEach((view, slot) => view.fill(slot + 1));
      views.forEach((view, slot) => {
        assertEquals(view.byteOffset, 0);
        assertEquals([view.length, view.buffer.byteLength], [
          blockSize,
          blockSize,
        ]);
        assert(view.every((byte) => byte === slot + 1), `slot ${slot}`);
      });
      for (const view of views) region.revoke(view);
    }
  },
);

native("pointer() is one stride from slot to slot, aligned to it", () => {
  for (const blockSize of [10, 65, 4096, 5000]) {
    using region = made({ blockSize });
    const at = (slot: number) =>
      BigInt(Deno.UnsafePointer.value(region.pointer(slot)));
    for (let slot = 1; slot < 8; slot++) {
      assertEquals(at(slot) - at(slot - 1), BigInt(region.stride));
    }
    const unit = blockSize < abilities().pageSize ? 64 : abilities().pageSize;
    assertEquals(at(0) % BigInt(unit), 0n);
  }
});

native(
  "renew() ends every view of the slot, and keeps its bytes in place",
  () => {
    using region = made();
    region.commit({ first: 0, count: 1 });
    const view = region.view(0).fill(7);
    const part = view.subarray(8, 16);
    const words = new Int32Array(view.buffer, 0, 4);
    const dataView = new DataView(view.buffer);
    const buffer = region.renew(view);
    for (const ended of [view, part, words]) assertEquals(ended.length, 0);
    assertThrows(() => dataView.getInt8(0), TypeError);
    assert(buffer !== undefined);
    assertNotStrictEquals(buffer, view.buffer);
    const next = new Uint8Array(buffer);
    assertEquals(next.length, abilities().pageSize);
    assert(next.every((byte) => byte === 7));
    assert(region.isWhole(0, next.buffer));
    region.revoke(next);
  },
);

native(
  "revoke() ends every view, and a view that has ended does not mind",
  () => {
    using region = made();
    region.commit({ first: 0, count: 1 });
    const view = region.view(0).fill(7);
    region.revoke(view);
    region.revoke(view);
    assertEquals([view.length, view.buffer.detached], [0, true]);
    const again = region.view(0);
    assertEquals(again.at(-1), 7, "the memory is as it was");
    region.revoke(again);
  },
);

native("isWhole() knows the slot's memory by address and size", () => {
  using region = made({ blockSize: 128 });
  region.commit({ first: 0, count: 1 });
  const view = region.view(1);
  assert(region.isWhole(1, view.buffer));
  assert(!region.isWhole(0, view.buffer), "a neighbour");
  assert(!region.isWhole(1, new ArrayBuffer(128)), "other memory");
  assert(!region.isWhole(1, new ArrayBuffer(64)), "another size");
  assert(!region.isWhole(1, new SharedArrayBuffer(128)), "shared");
  const resizable = new ArrayBuffer(128, { maxByteLength: 256 });
  assert(!region.isWhole(1, resizable), "resizable");
  const moved = view.buffer.transfer();
  assert(!region.isWhole(1, view.buffer), "detached");
  assert(region.isWhole(1, moved), "moved, still the same memory");
  moved.transfer(0);
});

native(
  "decommit() and commit() give zeroes, or say that they may not be",
  () => {
    using region = made();
    const run = { first: 1, count: 2 };
    region.commit(run);
    region.revoke(region.view(1).fill(7));
    assertEquals(region.mayBeStale(1), false, "never given back");
    assertEquals(region.decommit(run), 0);
    assertEquals(region.commit(run), undefined);
    const view = region.view(1);
    assert(region.mayBeStale(1) || view.every((byte) => byte === 0));
    assertEquals(region.mayBeStale(0), false, "another slab");
    region.revoke(view);
  },
);

native("decommit() takes the bytes of its slabs only", () => {
  const { pageSize } = abilities();
  using region = made({ blockSize: 1000, maxBlocks: 3 * pageSize / 1024 });
  const { slabSlots } = region;
  region.commit({ first: 0, count: 3 });
  const before = region.view(slabSlots - 1).fill(7);
  const after = region.view(2 * slabSlots).fill(8);
  assertEquals(region.decommit({ first: 1, count: 1 }), 0);
  assert(before.every((byte) => byte === 7));
  assert(after.every((byte) => byte === 8));
  region.revoke(before);
  region.revoke(after);
});

native("decommit() keeps the addresses readable and writable", () => {
  using region = made();
  region.commit({ first: 0, count: 8 });
  const view = region.view(3).fill(7);
  assertEquals(region.decommit({ first: 0, count: 8 }), 0);
  assertGreaterOrEqual(region.mappedBytes, 8 * region.stride);
  view.fill(1);
  assertEquals(view[0], 1);
  region.revoke(view);
});

native("dropSlot() takes the bytes of its slot only, and no address", () => {
  const { pageSize, zeroedOnRecommit } = abilities();
  using region = made({ blockSize: 3 * pageSize });
  assert(region.hasOwnPages);
  region.commit({ first: 0, count: 8 });
  const views = [3, 4, 5].map((slot) => region.view(slot).fill(slot));
  assertEquals(region.dropSlot(4), 0);
  const [before, dropped, after] = views;
  assert(before.every((byte) => byte === 3));
  assert(after.every((byte) => byte === 5));
  if (zeroedOnRecommit) assert(dropped.every((byte) => byte === 0));
  dropped.fill(9);
  assert(dropped.every((byte) => byte === 9));
  for (const view of views) region.revoke(view);
});

native("only slots that fill pages have pages of their own", () => {
  const { pageSize } = abilities();
  for (
    const [blockSize, own] of [[1, false], [1000, false], [pageSize, true], [
      pageSize + 1,
      true,
    ]] as const
  ) {
    using region = made({ blockSize });
    assertEquals(region.hasOwnPages, own, `${blockSize} bytes`);
  }
});

native(
  "extend() maps as many slabs as were added before, from one to the first range's",
  () => {
    using region = made();
    const added: number[] = [];
    for (let turn = 0; turn < 7; turn++) {
      const { slabs, mappedBytes } = region;
      assertEquals(region.extend(), undefined);
      const more = region.slabs - slabs;
      assertEquals(region.mappedBytes - mappedBytes, more * region.slabBytes);
      added.push(more);
    }
    assertEquals(added, [1, 1, 2, 4, 8, 8, 8]);
  },
);

native(
  "slots of ranges added later lie side by side with no other slot",
  () => {
    for (const blockSize of [1000, abilities().pageSize]) {
      using region = made({ blockSize });
      for (let turn = 0; turn < 3; turn++) region.extend();
      const { slabs, slabSlots, stride } = region;
      commitAll(region);
      const count = slabs * slabSlots;
      const at = Array.from(
        { length: count },
        (_, slot) => BigInt(Deno.UnsafePointer.value(region.pointer(slot))),
      );
      const sorted = at.toSorted((a, b) => Number(a - b));
      for (let slot = 1; slot < count; slot++) {
        assertGreaterOrEqual(Number(sorted[slot] - sorted[slot - 1]), stride);
      }
      const views = at.map((_, slot) => region.view(slot).fill(1 + slot % 251));
      views.forEach((view, slot) => {
        assert(view.every((byte) => byte === 1 + slot % 251), `slot ${slot}`);
        assert(region.isWhole(slot, view.buffer));
      });
      for (let left = slabs; left > 0;) {
        const run = region.highest({ first: 0, count: left });
        assertEquals(region.decommit(run), 0);
        left -= run.count;
      }
      for (const view of views) region.revoke(view);
    }
  },
);

native("lowest() and highest() cut a run at the ends of ranges", () => {
  using region = made();
  for (let turn = 0; turn < 4; turn++) region.extend();
  // Slabs 0 to 7, 8, 9, 10 and 11, 12 to 15.
  const cases: [first: number, count: number, low: number[], high: number[]][] =
    [
      [0, 8, [0, 8], [0, 8]],
      [2, 3, [2, 3], [2, 3]],
      [5, 4, [5, 3], [8, 1]],
      [8, 2, [8, 1], [9, 1]],
      [10, 5, [10, 2], [12, 3]],
      [0, 16, [0, 8], [12, 4]],
      [15, 1, [15, 1], [15, 1]],
    ];
  for (const [first, count, low, high] of cases) {
    const run = { first, count };
    assertEquals(region.lowest(run), { first: low[0], count: low[1] });
    assertEquals(region.highest(run), { first: high[0], count: high[1] });
  }
});

native("extend() keeps in mind which slabs may hold old bytes", () => {
  using region = made();
  region.commit({ first: 0, count: 2 });
  region.decommit({ first: 1, count: 1 });
  const before = [0, 1].map((slot) => region.mayBeStale(slot));
  region.extend();
  region.commit({ first: 8, count: 1 });
  assertEquals([0, 1].map((slot) => region.mayBeStale(slot)), before);
  assertEquals(region.mayBeStale(8), false, "it is new");
});

native(
  "unmap() leaves the slabs in use mapped, with their bytes, and nothing else",
  () => {
    const region = made();
    for (let turn = 0; turn < 4; turn++) region.extend();
    assertEquals(region.slabs, 16);
    commitAll(region);
    // Of the first range, of two of those behind it, and none of the others.
    const kept = [12, 0, 7, 3, 4, 9];
    const views = kept.map((slot) => region.view(slot).fill(slot + 1));
    const at = Array.from(
      { length: region.slabs },
      (_, slot) => BigInt(Deno.UnsafePointer.value(region.pointer(slot))),
    );
    assert(region.unmapBut(new Set(kept)).length === 0);
    views.forEach((view, at) => {
      assert(view.every((byte) => byte === kept[at] + 1), `slot ${kept[at]}`);
      view.fill(0);
      region.revoke(view);
    });
    // Where the OS knows whole ranges only, those with a slab in use stay whole: the first one, slab 9
    // alone, and slabs 12 to 15.
    const left = unmapsParts() ? kept.length : 8 + 1 + 4;
    assertEquals(region.mappedBytes, left * region.stride);
    if (!hasProc || !unmapsParts()) return;
    const mapped = at.flatMap((address, slot) =>
      isMapped(address, region.stride) ? [slot] : []
    );
    assert(kept.every((slot) => mapped.includes(slot)));
    // Other tests of this process may have mapped something there meanwhile, but not all of it.
    assert(mapped.length < at.length);
  },
);

native("prefault() takes a piece of a run, and leaves the bytes alone", () => {
  using region = made({ blockSize: 1 << 20, maxBlocks: 64 });
  region.commit({ first: 0, count: 64 });
  const view = region.view(0).fill(7);
  const run = { first: 0, count: 64 };
  for (const from of [0, region.pieceBytes, run.count * region.slabBytes - 1]) {
    const isPage = from % abilities().pageSize === 0;
    assertEquals(
      region.prefault(run, from) === 0,
      isPage || !abilities().prefaults,
    );
  }
  assert(view.every((byte) => byte === 7));
  region.revoke(view);
});

native("unmap() gives everything back, once", () => {
  const region = made();
  region.unmap();
  assertEquals(region.mappedBytes, 0);
  region.unmap();
  assertEquals(region.mappedBytes, 0);
});
