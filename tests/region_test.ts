// One mapped range cut into slots: where they lie, what their views show, and when they end.

import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertNotStrictEquals,
  assertThrows,
} from "@std/assert";
import type { Backend } from "../ffi/backend.ts";
import { openNative } from "../ffi/open.ts";
import { fillOptions, type PoolOptions } from "../pool/options.ts";
import { Region } from "../pool/region.ts";
import "./support/open_library.ts";
import { hasNative } from "./support/platform.ts";

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
      assertEquals(region.slabBytes % hugePageSize, 0, `${blockSize} bytes`);
      const first = Deno.UnsafePointer.value(region.pointer(0));
      assertEquals(BigInt(first) % BigInt(hugePageSize), 0n);
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

native("drop() keeps the addresses readable and writable", () => {
  using region = made();
  region.commit({ first: 0, count: 8 });
  const view = region.view(3).fill(7);
  region.drop(8);
  assertGreaterOrEqual(region.mappedBytes, 8 * region.stride);
  view.fill(1);
  assertEquals(view[0], 1);
  region.revoke(view);
});

native("prefault() stops when told, and leaves the bytes alone", async () => {
  using region = made({ blockSize: 1 << 20, maxBlocks: 64 });
  region.commit({ first: 0, count: 64 });
  const view = region.view(0).fill(7);
  let asked = 0;
  await region.prefault({ first: 0, count: 64 }, () => ++asked > 2);
  assertEquals(asked, abilities().prefaults ? 3 : 0);
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
