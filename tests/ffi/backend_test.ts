// What every backend must do, whatever is under it. Parts that not every system can are switched by
// the abilities record, so a new backend is proved by one more call of `backendSuite` at the end.

import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLessOrEqual,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import type { Backend, Range } from "../../ffi/backend.ts";
import { heap } from "../../ffi/heap.ts";
import { openNative } from "../../ffi/open.ts";
import { hasProc, isEmulated } from "../support/platform.ts";
import { freePlace, PLACE_BYTES } from "../support/addresses.ts";
import { flagsOf, isMapped, residentIn } from "../support/resident.ts";

/** From here on, no other mapping is looked for. */
const PLACES = 0x2135_6a1c_0000n;

/** Tests a backend; `name` goes in front of each test's name. */
function backendSuite(name: string, backend: Backend): void {
  const { abilities } = backend;
  const { pageSize } = abilities;
  const pages = (count: number) => count * pageSize;

  /** A test, where the backend has what it is about; ignored where it cannot be observed. */
  function test(
    title: string,
    fn: () => void | Promise<void>,
    applies = true,
    observable = true,
  ): void {
    if (!applies) return;
    Deno.test({ name: `${name}: ${title}`, fn, ignore: !observable });
  }

  /** A range of so many pages, unmapped when disposed. */
  function mapped(count: number, alignment = pageSize): Range & Disposable {
    const range = backend.map(pages(count), alignment);
    assert(typeof range !== "number", `map() refused with ${range}`);
    return Object.assign(range, {
      [Symbol.dispose]: () => assertEquals(backend.unmap(range), 0),
    });
  }

  /** The same with all pages committed, and a view of them that ends with the range. */
  function committed(count: number) {
    const range = mapped(count);
    assertEquals(backend.commit(range, 0, pages(count), false), 0);
    const bytes = new Uint8Array(backend.view(range, 0, pages(count)));
    const unmap = range[Symbol.dispose];
    return Object.assign(range, {
      bytes,
      [Symbol.dispose]: () => {
        bytes.buffer.transfer(0);
        unmap();
      },
    });
  }

  test("abilities are consistent", () => {
    assertGreaterOrEqual(pageSize, 4096);
    assertEquals(Math.log2(pageSize) % 1, 0, "a page is a power of two");
    assertEquals(abilities.hugePageSize % pageSize, 0);
    assertEquals(backend.kind === "native", abilities.hasAddresses);
    if (abilities.protects) assert(abilities.hasAddresses);
  });

  test("map() gives what was asked for, inside what the OS gave", () => {
    using range = mapped(3);
    assertEquals(range.size, pages(3));
    assertLessOrEqual(range.mappedBase, range.base);
    assertGreaterOrEqual(
      range.mappedBase + BigInt(range.mappedSize),
      range.base + BigInt(range.size),
    );
  });

  test("map() aligns to whatever it is told", () => {
    for (const alignment of [pageSize, 2 ** 16, 2 ** 21, 2 ** 25]) {
      // Several, since one may be aligned by chance.
      using a = mapped(1, alignment);
      using b = mapped(1, alignment);
      using c = mapped(1, alignment);
      for (const { base } of [a, b, c]) {
        assertEquals(base % BigInt(alignment), 0n, `${alignment}`);
        assertNotEquals(base, 0n);
      }
      assertEquals(backend.commit(c, 0, pageSize, false), 0);
      const view = new Uint8Array(backend.view(c, 0, pageSize)).fill(1);
      view.buffer.transfer(0);
    }
  }, abilities.hasAddresses);

  test("map() of several ranges gives each its own", () => {
    const ranges = Array.from({ length: 8 }, () => mapped(2));
    const bases = ranges.map(({ base }) => base).sort((a, b) => a < b ? -1 : 1);
    for (let i = 1; i < bases.length; i++) {
      assertGreaterOrEqual(bases[i] - bases[i - 1], BigInt(pages(2)));
    }
    for (const range of ranges) range[Symbol.dispose]();
  }, abilities.hasAddresses);

  test("map() answers an absurd size with a code that has a name", () => {
    for (const size of [2 ** 47, 2 ** 50, 2 ** 52]) {
      const code = backend.map(size, pageSize);
      assert(typeof code === "number", `2^${Math.log2(size)} bytes`);
      assertNotEquals(code, 0);
      assertGreater(backend.errorName(code).length, 0);
    }
    using after = mapped(1);
    assertGreater(after.size, 0);
  }, abilities.hasAddresses);

  test(
    "map() alone takes no memory",
    () => {
      using range = mapped(2 ** 30 / pageSize);
      assertEquals(residentIn(range.mappedBase, range.mappedSize), 0);
    },
    abilities.hasAddresses,
    hasProc,
  );

  test(
    "map() keeps nothing beside what was asked for",
    () => {
      using range = mapped(3, 2 ** 21);
      assertEquals([range.mappedBase, range.mappedSize], [
        range.base,
        pages(3),
      ]);
    },
    abilities.hasAddresses,
    hasProc,
  );

  test(
    "what is mapped stays out of core dumps, and in small pages unless asked for",
    () => {
      using range = committed(8);
      const flags = flagsOf(range.base);
      assert(flags.includes("dd"), `${flags}: not in core dumps`);
      assert(flags.includes("nh"), `${flags}: no huge pages`);
      assertEquals(backend.commit(range, 0, pages(8), true), 0);
      const huge = flagsOf(range.base);
      assert(huge.includes("dd") && !huge.includes("nh"), `${huge}`);
    },
    abilities.hasAddresses,
    hasProc && !isEmulated,
  );

  test("errorName() says something of any number", () => {
    for (const code of [-1, 1, 12, 22, 9999]) {
      assertGreater(backend.errorName(code).length, 0);
    }
  });

  test("commit() gives zeroes that can be written", () => {
    using range = committed(4);
    assert(range.bytes.every((byte) => byte === 0));
    range.bytes.fill(7);
    assert(range.bytes.every((byte) => byte === 7));
  });

  test("commit() in pieces, in any order, gives usable bytes in each", () => {
    using range = mapped(8);
    for (const page of [5, 0, 7, 6, 1]) {
      assertEquals(backend.commit(range, pages(page), pageSize, false), 0);
      const buffer = backend.view(range, pages(page), pageSize);
      const bytes = new Uint8Array(buffer).fill(page);
      assertEquals(bytes.at(-1), page);
      buffer.transfer(0);
    }
  });

  test("commit() twice keeps the contents", () => {
    using range = committed(4);
    range.bytes.fill(7);
    assertEquals(backend.commit(range, pages(1), pages(2), false), 0);
    assert(range.bytes.every((byte) => byte === 7));
  });

  test("commit() takes the wish for huge pages where there are none, too", () => {
    using range = mapped(4);
    assertEquals(backend.commit(range, 0, pages(4), true), 0);
    const buffer = backend.view(range, 0, pages(4));
    assertEquals(new Uint8Array(buffer).fill(1).at(-1), 1);
    buffer.transfer(0);
  });

  test("decommit() leaves bytes that can be read and written at once", () => {
    using range = committed(4);
    range.bytes.fill(7);
    assertEquals(backend.decommit(range, pages(1), pages(2)), 0);
    // What they hold is the system's business; that they can be read is the promise.
    const sum = range.bytes.reduce((a, b) => a + b, 0);
    assertGreaterOrEqual(sum, pages(2) * 7);
    range.bytes.fill(9);
    assert(range.bytes.every((byte) => byte === 9));
  });

  test("decommit() touches no byte outside its range", () => {
    using range = committed(5);
    range.bytes.fill(7);
    assertEquals(backend.decommit(range, pages(2), pages(1)), 0);
    const { bytes } = range;
    assert(bytes.subarray(0, pages(2)).every((byte) => byte === 7));
    assert(bytes.subarray(pages(3)).every((byte) => byte === 7));
  });

  test("decommit() and commit() give zeroes", () => {
    using range = committed(4);
    for (let round = 0; round < 3; round++) {
      range.bytes.fill(7);
      assertEquals(backend.decommit(range, 0, pages(4)), 0);
      assertEquals(backend.commit(range, 0, pages(4), false), 0);
      assert(range.bytes.every((byte) => byte === 0), `round ${round}`);
    }
  }, abilities.hasAddresses && abilities.zeroedOnRecommit);

  test("unmapPart() gives a part back with its addresses, or leaves it as it was", () => {
    const range = backend.map(pages(5), pageSize);
    assert(typeof range !== "number");
    assertEquals(backend.commit(range, 0, pages(5), false), 0);
    const views = [0, 1, 4].map((page) => {
      const buffer = backend.view(range, pages(page), pageSize);
      return new Uint8Array(buffer).fill(page + 1);
    });
    const isDone = backend.unmapPart(range, pages(2), pages(2)) === 0;
    views.forEach((view, at) => {
      assert(view.every((byte) => byte === [1, 2, 5][at]));
      view.fill(9);
      view.buffer.transfer(0);
    });
    if (!isDone) return assertEquals(backend.unmap(range), 0);
    if (hasProc && abilities.hasAddresses) {
      const there = [0, 1, 2, 3, 4].map((page) =>
        isMapped(range.base + BigInt(pages(page)), pageSize)
      );
      assertEquals(there, [true, true, false, false, true]);
    }
    assertEquals(backend.unmapPart(range, 0, pages(2)), 0);
    assertEquals(backend.unmapPart(range, pages(4), pages(1)), 0);
  });

  test(
    "decommit() makes memory of the process free",
    () => {
      using range = mapped(66);
      // The page at either end stays inaccessible: Linux merges neighbours that are alike.
      assertEquals(backend.commit(range, pages(1), pages(64), false), 0);
      const resident = () => residentIn(range.base, range.size);
      const buffer = backend.view(range, pages(1), pages(64));
      new Uint8Array(buffer).fill(7);
      assertEquals(resident(), pages(64));
      assertEquals(backend.decommit(range, pages(17), pages(48)), 0);
      assertEquals(resident(), pages(16));
      buffer.transfer(0);
    },
    abilities.hasAddresses,
    hasProc,
  );

  test("decommit() of what was decommitted or never written does no harm", () => {
    using range = committed(2);
    for (let round = 0; round < 3; round++) {
      assertEquals(backend.decommit(range, 0, pages(2)), 0);
    }
    range.bytes.fill(1);
  });

  test("protect() keeps native code out, and the contents for later", () => {
    using range = committed(4);
    range.bytes.fill(7);
    const middle = range.bytes.subarray(pages(1), pages(3));
    const path = Deno.makeTempFileSync();
    try {
      Deno.writeFileSync(path, new Uint8Array(pages(4)).fill(9));
      using file = Deno.openSync(path);
      assertEquals(backend.protect(range, pages(1), pages(2), false), 0);
      // JavaScript would end the process here; the OS refuses the address.
      assertThrows(() => file.readSync(middle));
      assertEquals(backend.protect(range, pages(1), pages(2), true), 0);
      assert(range.bytes.every((byte) => byte === 7));
      assertEquals(file.readSync(middle), pages(2));
      assert(middle.every((byte) => byte === 9));
    } finally {
      Deno.removeSync(path);
    }
  }, abilities.protects);

  test("protect() does nothing and says so with 0", () => {
    using range = committed(1);
    assertEquals(backend.protect(range, 0, pageSize, false), 0);
    range.bytes.fill(7);
  }, !abilities.protects);

  test("prefault() changes no byte", () => {
    using range = committed(8);
    range.bytes.fill(7, 0, pages(4));
    assertEquals(backend.prefault(range, 0, pages(8)), 0);
    assert(range.bytes.subarray(0, pages(4)).every((byte) => byte === 7));
    assert(range.bytes.subarray(pages(4)).every((byte) => byte === 0));
  });

  test(
    "prefault() takes memory ahead of the first write",
    () => {
      using range = mapped(34);
      assertEquals(backend.commit(range, pages(1), pages(32), false), 0);
      assertEquals(residentIn(range.base, range.size), 0);
      assertEquals(backend.prefault(range, pages(1), pages(32)), 0);
      assertEquals(residentIn(range.base, range.size), pages(32));
    },
    abilities.prefaults,
    hasProc && !isEmulated,
  );

  test(
    "unmap() gives the addresses back",
    () => {
      // Another thread may get the addresses at once, but not each time.
      const given = Array.from({ length: 10 }, () => {
        const range = mapped(16, 2 ** 25);
        const { mappedBase, mappedSize } = range;
        assert(isMapped(mappedBase, pageSize));
        assert(isMapped(mappedBase + BigInt(mappedSize - pageSize), pageSize));
        range[Symbol.dispose]();
        return !isMapped(mappedBase, pageSize);
      });
      assert(given.includes(true));
    },
    abilities.hasAddresses,
    hasProc,
  );

  test(
    "unmap() can be repeated with map() for ever",
    () => {
      // Far more than the machine has, if any were kept.
      for (let i = 0; i < 300; i++) {
        using range = mapped(2 ** 40 / pageSize);
        assertEquals(range.size, 2 ** 40);
      }
    },
    abilities.hasAddresses,
    !isEmulated,
  );

  test("view() is an ordinary ArrayBuffer of exactly the size", () => {
    using range = committed(2);
    for (const size of [1, 63, 4095, pages(1) + 1, pages(2)]) {
      const buffer = backend.view(range, 0, size);
      assertInstanceOf(buffer, ArrayBuffer);
      assertEquals([buffer.byteLength, buffer.resizable], [size, false]);
      buffer.transfer(0);
    }
  });

  test(
    "view() shows the same memory each time, also after another view ended",
    () => {
      using range = committed(2);
      const first = backend.view(range, 64, 100);
      new Uint8Array(first).fill(7);
      assertEquals(range.bytes.indexOf(7), 64);
      assertEquals(range.bytes.lastIndexOf(7), 163);
      first.transfer(0);
      const second = new Uint8Array(backend.view(range, 64, 100));
      assert(second.every((byte) => byte === 7));
      second.buffer.transfer(0);
    },
    abilities.hasAddresses,
  );

  test("mapAt() gives committed zeroes there and nowhere else", () => {
    const place = freePlace(backend, PLACES);
    const range = backend.mapAt(place, PLACE_BYTES);
    assert(typeof range !== "number", `mapAt() refused with ${range}`);
    try {
      assertEquals([range.base, range.size], [place, PLACE_BYTES]);
      const view = backend.view(range, 0, PLACE_BYTES);
      const bytes = new Uint8Array(view, 16).fill(7);
      // What is there stays, and is not given twice.
      const code = backend.mapAt(place, PLACE_BYTES);
      assert(typeof code === "number" && code !== 0, `${code}`);
      assertGreater(backend.errorName(code).length, 0);
      assert(bytes.every((byte) => byte === 7));
      view.transfer(0);
    } finally {
      assertEquals(backend.unmap(range), 0);
    }
    const again = backend.mapAt(place, PLACE_BYTES);
    assert(typeof again !== "number", "it was free again");
    const view = backend.view(again, 16, PLACE_BYTES - 16);
    assert(new Uint8Array(view).every((byte) => byte === 0));
    view.transfer(0);
    assertEquals(backend.unmap(again), 0);
  }, abilities.hasAddresses);

  test("findAt() finds what mapAt() made, and survives anything else", () => {
    const place = freePlace(backend, PLACES);
    const findAt = (address: bigint) => backend.findAt(address, PLACE_BYTES);
    assertEquals(findAt(place), undefined, "nothing is there");
    const range = backend.mapAt(place, PLACE_BYTES) as Range;
    assertEquals(findAt(place), range);
    const view = backend.view(range, 0, PLACE_BYTES);
    const bytes = new Uint8Array(view);
    for (let at = 0; at < 16; at++) {
      bytes[at] ^= 1;
      assertEquals(findAt(place), undefined, `another byte ${at}`);
      bytes[at] ^= 1;
    }
    bytes.fill(0);
    assertEquals(findAt(place), undefined, "zeroes");
    bytes.fill(0x2f);
    assertEquals(findAt(place), undefined, "a path without an end");
    view.transfer(0);
    assertEquals(backend.unmap(range), 0);
    assertEquals(findAt(place), undefined, "it has gone");
    using forbidden = mapped(PLACE_BYTES / pageSize, PLACE_BYTES);
    assertEquals(findAt(forbidden.base), undefined, "not to be read");
  }, abilities.hasAddresses);

  test("mapAt() and findAt() have nothing where there are no addresses", () => {
    assertNotEquals(backend.mapAt(PLACES, PLACE_BYTES), 0);
    assertEquals(typeof backend.mapAt(PLACES, PLACE_BYTES), "number");
    assertEquals(backend.findAt(PLACES, PLACE_BYTES), undefined);
  }, !abilities.hasAddresses);

  test("pointer() and isAt() agree about addresses", () => {
    using range = committed(2);
    const at = (offset: number) => {
      const pointer = backend.pointer(range, offset);
      return Deno.UnsafePointer.value(pointer);
    };
    assertEquals(BigInt(at(0)), range.base);
    assertEquals(BigInt(at(4097)), range.base + 4097n);
    const buffer = backend.view(range, 64, 64);
    assert(backend.isAt(range, 64, buffer));
    assert(!backend.isAt(range, 0, buffer));
    assert(!backend.isAt(range, 64, new ArrayBuffer(64)));
    const moved = buffer.transfer();
    assert(backend.isAt(range, 64, moved), "transfer() keeps the address");
    moved.transfer(0);
  }, abilities.hasAddresses);

  test("pointer() is null and isAt() true where there are no addresses", () => {
    using range = committed(1);
    assertEquals(backend.pointer(range, 0), null);
    assert(backend.isAt(range, 0, new ArrayBuffer(1)));
  }, !abilities.hasAddresses);
}

const native = openNative();
if (!("reason" in native)) backendSuite(`native ${Deno.build.os}`, native);
backendSuite("heap", heap);
