// readFrames(): length-prefixed messages in a window of one block, from readers
// that give any number of bytes, and over real connections.

import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { delay } from "@std/async";
import { BlockPool } from "@smriti/pool";
import {
  type Frame,
  type FrameOptions,
  type HeadedFrameOptions,
  readFrames,
} from "@smriti/pool/io";
import { lawful, unharmed } from "../support/invariants.ts";
import { everyPool } from "../support/every_pool.ts";
import { refused, rejected, until } from "../support/misuse.ts";
import { Rng, seedOfRun } from "../support/rng.ts";
import { join, pattern, readerOf } from "../support/uploads.ts";
import { wire } from "../support/connections.ts";

function poolOf(blockSize: number): BlockPool {
  return new BlockPool({ blockSize, maxBlocks: 2 });
}

/** The frames as they go over the wire. */
function encode(
  frames: readonly Uint8Array[],
  { lengthBytes, littleEndian }: FrameOptions,
): Uint8Array<ArrayBuffer> {
  return join(frames.flatMap((frame) => {
    const head = new DataView(new ArrayBuffer(4));
    head.setUint32(0, frame.length, littleEndian);
    const bytes = new Uint8Array(head.buffer);
    const length = littleEndian
      ? bytes.subarray(0, lengthBytes)
      : bytes.subarray(4 - lengthBytes);
    return [length, frame];
  }));
}

/** Copies of the frames' bytes. Their heads must say how many there are. */
async function all(walk: AsyncIterable<Frame>): Promise<Uint8Array[]> {
  const frames = [];
  for await (const { head, bytes } of walk) {
    const sum = head.length === 1 ? head[0] : head.reduce((a, b) => a + b);
    assert(sum > 0 || bytes.length === 0);
    frames.push(bytes.slice());
  }
  return frames;
}

Deno.test("readFrames() gives every frame, whatever a read brings and however small the window", async () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  for (const lengthBytes of [1, 2, 4] as const) {
    for (const littleEndian of [false, true]) {
      for (const blockSize of [4, 5, 16, 100, 1000]) {
        using pool = poolOf(blockSize);
        const options = { lengthBytes, littleEndian };
        const most = Math.min(blockSize, 2 ** (8 * lengthBytes) - 1);
        const frames = Array.from(
          { length: 60 },
          (_, i) =>
            pattern(rng.pick([0, 1, most, most - 1, rng.below(most + 1)]), i),
        );
        for (const piece of [1, 3, blockSize, 0]) {
          const bytes = encode(frames, options);
          const next = () => piece === 0 ? 1 + rng.below(blockSize) : piece;
          const walk = readFrames(readerOf(bytes, next), pool, options);
          assertEquals(
            await all(walk),
            frames,
            Deno.inspect({ seed, lengthBytes, littleEndian, blockSize, piece }),
          );
        }
        unharmed(pool);
      }
    }
  }
});

Deno.test("readFrames() gives frames of a real connection while they arrive", async () => {
  using pool = poolOf(65536);
  using net = await wire();
  const options = { lengthBytes: 4 } as const;
  const frames = [0, 1, 30_000, 65535, 65536, 5, 65532, 40_000].map((size) =>
    pattern(size, size)
  );
  const send = async () => {
    let bytes: Uint8Array = encode(frames, options);
    while (bytes.length > 0) {
      const piece = bytes.subarray(0, 10_000);
      bytes = bytes.subarray(await net.peer.write(piece));
      await delay(1);
    }
    await net.peer.closeWrite();
  };
  const [received] = await Promise.all([
    all(readFrames(net.ours, pool, options)),
    send(),
  ]);
  assertEquals(received, frames);
  unharmed(pool);
});

Deno.test("readFrames() ends what a step gave out when the next one is asked for, at every level", async () => {
  const options = { lengthBytes: 1 } as const;
  const frames = [pattern(3), pattern(10), pattern(0), pattern(16)];
  const bytes = encode(frames, options);
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 1 })) {
    const kept: Frame[] = [];
    const views: Uint8Array[] = [];
    const ended = () => {
      for (const one of kept) {
        refused("released", () => one.bytes);
        refused("released", () => one.head);
      }
      assertEquals(views.map(({ length }) => length), views.map(() => 0));
    };
    for await (const frame of readFrames(readerOf(bytes), pool, options)) {
      ended();
      assertEquals(frame.bytes, frames[kept.length]);
      assertEquals(frame.head, new Uint8Array([frame.bytes.length]));
      kept.push(frame);
      views.push(frame.bytes, frame.bytes.subarray(3), frame.head);
    }
    assertEquals(kept.length, 4);
    ended();
    unharmed(pool);
    await pool.close();
    assertEquals(pool.stats().mappedBytes, 0);
  }
});

Deno.test("readFrames() fails when a step's buffer was transferred, and its block is lent to no other", async () => {
  const options = { lengthBytes: 1 } as const;
  for (const pool of everyPool({ blockSize: 16, maxBlocks: 2 })) {
    const reader = readerOf(encode(Array(9).fill(pattern(4)), options));
    let taken!: Uint8Array;
    const loop = async () => {
      for await (const { bytes } of readFrames(reader, pool, options)) {
        const { byteOffset, buffer } = bytes;
        const moved = structuredClone(buffer, { transfer: [buffer] });
        taken = new Uint8Array(moved, byteOffset, 4);
      }
    };
    await rejected("lent", loop());
    {
      using other = pool.acquireSync();
      other.bytes.fill(9);
      assertEquals(taken, pattern(4));
    }
    assertEquals(lawful(pool).acquiredBlocks, 0);
    await pool.close();
  }
});

Deno.test("readFrames() fails when the connection ends within a frame", async () => {
  const options = { lengthBytes: 2 } as const;
  const bytes = encode([pattern(5), pattern(7)], options);
  using pool = poolOf(16);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const walk = readFrames(readerOf(bytes.subarray(0, cut)), pool, options);
    if ([0, 7, 16].includes(cut)) {
      assertEquals((await all(walk)).length, [0, 7, 16].indexOf(cut));
    } else {
      await assertRejects(() => all(walk), Deno.errors.UnexpectedEof);
    }
    unharmed(pool);
  }
});

Deno.test("readFrames() refuses a frame above the limit before it gives any of it", async () => {
  using pool = poolOf(1000);
  for (const limit of [undefined, 0, 10]) {
    const most = limit ?? 1000;
    const options = { lengthBytes: 4, limit } as const;
    const fits = encode([pattern(most)], options);
    assertEquals(await all(readFrames(readerOf(fits), pool, options)), [
      pattern(most),
    ]);
    const head = encode([pattern(most + 1)], options).subarray(0, 4);
    const endless = join([fits, head]);
    const walk = readFrames(readerOf(endless), pool, options);
    assertEquals((await walk.next()).value!.bytes, pattern(most));
    await assertRejects(
      () => walk.next(),
      Deno.errors.InvalidData,
      `a frame of ${most + 1} bytes is longer than the limit of ${most}`,
    );
    unharmed(pool);
  }
  const large = new Uint8Array(4).fill(255);
  const options = { lengthBytes: 4 } as const;
  await assertRejects(
    () => all(readFrames(readerOf(large), pool, options)),
    Deno.errors.InvalidData,
    "4294967295",
  );
});

Deno.test("readFrames() releases on break, return and throw, and does not close the connection", async () => {
  using pool = poolOf(16);
  const options = { lengthBytes: 1 } as const;
  const reader = () => readerOf(encode([pattern(3), pattern(3)], options));
  for await (const _ of readFrames(reader(), pool, options)) break;
  unharmed(pool);
  const reason = new Error("handler");
  const error = await assertRejects(async () => {
    for await (const _ of readFrames(reader(), pool, options)) throw reason;
  });
  assertStrictEquals(error, reason);
  unharmed(pool);
  const walk = readFrames(reader(), pool, options);
  await walk.next();
  await walk.return!();
  unharmed(pool);
});

Deno.test("readFrames() ends with the signal's reason while it reads, waits or is between steps", async () => {
  using pool = poolOf(16);
  const reason = new Error("stop");
  const options = { lengthBytes: 1 } as const;
  {
    using net = await wire();
    const aborting = new AbortController();
    const { signal } = aborting;
    const step = readFrames(net.ours, pool, { ...options, signal }).next();
    await delay(5);
    aborting.abort(reason);
    assertStrictEquals(await assertRejects(() => step), reason);
    assertEquals(lawful(pool).lentBlocks, 1, "the read may still write");
    net.ours.close();
    await until(() => pool.stats().lentBlocks === 0);
  }
  {
    using blocks = await pool.acquireMany(2);
    const signal = AbortSignal.timeout(5);
    const walk = readFrames(readerOf(pattern(1)), pool, { ...options, signal });
    assertStrictEquals(await assertRejects(() => walk.next()), signal.reason);
    const hurried = { ...options, timeoutMs: 1 };
    await rejected(
      "timeout",
      readFrames(readerOf(pattern(1)), pool, hurried).next(),
    );
    assertEquals(blocks.length, 2);
  }
  {
    const aborting = new AbortController();
    const { signal } = aborting;
    const bytes = encode([pattern(3), pattern(3)], options);
    const walk = readFrames(readerOf(bytes), pool, { ...options, signal });
    await walk.next();
    aborting.abort(reason);
    assertStrictEquals(await assertRejects(() => walk.next()), reason);
  }
  unharmed(pool);
});

Deno.test("readFrames() loses no block when connections are closed or reset under it", async () => {
  using pool = poolOf(1024);
  for (const end of ["ours", "peer"] as const) {
    using net = await wire();
    const step = readFrames(net.ours, pool, { lengthBytes: 4 }).next();
    await net.peer.write(new Uint8Array([0, 0, 1, 0, 5]));
    await delay(10);
    net[end].close();
    await assertRejects(() => step);
    unharmed(pool);
  }
});

Deno.test("readFrames() fails with closed or released when the pool closes", async () => {
  const pool = poolOf(16);
  const options = { lengthBytes: 1 } as const;
  const bytes = encode(Array(10).fill(pattern(10)), options);
  const walk = readFrames(readerOf(bytes), pool, options);
  await walk.next();
  await rejected("timeout", pool.close({ timeoutMs: 0 }));
  await rejected("released", walk.next());
  await rejected("closed", readFrames(readerOf(bytes), pool, options).next());
});

Deno.test("readFrames() checks its arguments at once", () => {
  using pool = poolOf(3);
  const reader = readerOf(pattern(1));
  const call = readFrames as (...args: unknown[]) => unknown;
  const one = { lengthBytes: 1 };
  const wrong: [unknown[], typeof TypeError | typeof RangeError, string][] = [
    [[{}, pool, one], TypeError, "reader must be"],
    [[reader, 1, one], TypeError, "pool must be"],
    [[reader, pool], TypeError, "lengthBytes must be 1, 2 or 4, got undefined"],
    [[reader, pool, { lengthBytes: 3 }], RangeError, "got 3"],
    [[reader, pool, { lengthBytes: "1" }], TypeError, 'got "1"'],
    [
      [reader, pool, { lengthBytes: 4 }],
      RangeError,
      "at least lengthBytes (4)",
    ],
    [[reader, pool, { ...one, littleEndian: 1 }], TypeError, "true or false"],
    [[reader, pool, { ...one, limit: 4 }], RangeError, "from 0 to 3, got 4"],
    [[reader, pool, { ...one, limit: 0n }], TypeError, "got 0n"],
    [[reader, pool, { ...one, signal: 1 }], TypeError, "signal must be"],
    [[reader, pool, { ...one, big: 1 }], TypeError, 'unknown option "big"'],
  ];
  for (const [args, Kind, message] of wrong) {
    assertThrows(() => call(...args), Kind, message);
  }
});

/** Heads of other protocols: how a frame is written, and how it is read. */
const HEADS: Record<
  string,
  { options: HeadedFrameOptions; head: (size: number) => number[] }
> = {
  Postgres: {
    options: {
      header: 5,
      length: (head) => new DataView(head.buffer).getUint32(1) - 4,
    },
    head: (size) => [81, ...bigEndian(size + 4, 4)],
  },
  MySQL: {
    options: {
      header: 4,
      length: (head) => head[0] | head[1] << 8 | head[2] << 16,
    },
    head: (size) => [size & 255, size >> 8 & 255, size >> 16, 7],
  },
  "8 bytes": {
    options: {
      header: 8,
      length: (head) => Number(new DataView(head.buffer).getBigUint64(0)),
    },
    head: (size) => bigEndian(size, 8),
  },
  "a length that counts all": {
    options: {
      header: 2,
      length: (head) => new DataView(head.buffer).getUint16(0) - 2,
    },
    head: (size) => bigEndian(size + 2, 2),
  },
  varint: {
    options: {
      header: 1,
      length: (head) =>
        head.at(-1)! < 128
          ? head.reduceRight((value, byte) => value * 128 + (byte & 127), 0)
          : undefined,
    },
    head: (size) => size < 128 ? [size] : [size & 127 | 128, size >> 7],
  },
};

function bigEndian(value: number, bytes: number): number[] {
  return Array.from(
    { length: bytes },
    (_, i) => Math.floor(value / 256 ** (bytes - 1 - i)) % 256,
  );
}

for (const [name, { options, head }] of Object.entries(HEADS)) {
  Deno.test(`readFrames() reads heads as ${name} has them, whatever a read brings`, async () => {
    for (const blockSize of [8, 16, 100, 1000]) {
      using pool = poolOf(blockSize);
      const frames = [0, 1, 5, blockSize >> 1, blockSize - 1, blockSize]
        .map((size) => ({
          head: new Uint8Array(head(size)),
          bytes: pattern(size),
        }));
      const sent = join(frames.flatMap(({ head, bytes }) => [head, bytes]));
      for (const piece of [1, 3, 7, Infinity]) {
        const reader = readerOf(sent, () => piece);
        const received = [];
        for await (const frame of readFrames(reader, pool, options)) {
          received.push({
            head: frame.head.slice(),
            bytes: frame.bytes.slice(),
          });
        }
        assertEquals(received, frames, `${blockSize} by ${piece}`);
      }
      unharmed(pool);
      // A cut one is an error wherever it is cut.
      const ends = new Set([0]);
      let at = 0;
      for (const { head, bytes } of frames.slice(0, 3)) {
        ends.add(at += head.length + bytes.length);
      }
      for (let cut = 0; cut <= at; cut++) {
        const walk = readFrames(readerOf(sent.slice(0, cut)), pool, options);
        const count = async () => {
          let frames = 0;
          for await (const _ of walk) frames++;
          return frames;
        };
        if (ends.has(cut)) assertEquals(await count(), [...ends].indexOf(cut));
        else await assertRejects(count, Deno.errors.UnexpectedEof);
      }
      // And one that is too long, before any of it was given.
      const long = new Uint8Array(head(blockSize + 1));
      await assertRejects(
        () => readFrames(readerOf(long), pool, options).next(),
        Deno.errors.InvalidData,
        `${blockSize + 1} bytes`,
      );
      const strict = { ...options, limit: 4 };
      const five = new Uint8Array(head(5));
      await assertRejects(
        () => readFrames(readerOf(five), pool, strict).next(),
        Deno.errors.InvalidData,
        "limit of 4",
      );
      unharmed(pool);
    }
  });
}

Deno.test("readFrames() says what is wrong with a length that is none", async () => {
  using pool = poolOf(16);
  const first = (length: unknown) => {
    const options = { header: 2, length: () => length } as HeadedFrameOptions;
    return readFrames(readerOf(pattern(40)), pool, options).next();
  };
  for (const length of [-1, -1e9, 17, 1e300]) {
    await assertRejects(() => first(length), Deno.errors.InvalidData);
  }
  for (
    const length of [1.5, NaN, Infinity, "1", null, 1n, Promise.resolve(1)]
  ) {
    await assertRejects(() => first(length), TypeError, "length(head) must be");
  }
  // A head without end is none either.
  await assertRejects(
    () => first(undefined),
    Deno.errors.InvalidData,
    "a head is longer than 16 bytes",
  );
  const thrown = new Error("mine");
  const throws = readFrames(readerOf(pattern(40)), pool, {
    header: 2,
    length() {
      throw thrown;
    },
  });
  assertStrictEquals(await assertRejects(() => throws.next()), thrown);
  unharmed(pool);
});

Deno.test("readFrames() ends the head that length() was given, whatever is done with it", async () => {
  using pool = poolOf(16);
  const heads: Uint8Array[] = [];
  const walk = readFrames(readerOf(new Uint8Array([1, 9, 1, 8])), pool, {
    header: 1,
    length(head) {
      heads.push(head);
      const [length] = head;
      if (heads.length === 2) {
        structuredClone(head, { transfer: [head.buffer] });
      }
      return length;
    },
  });
  const bytes = [];
  for await (const frame of walk) bytes.push(frame.bytes[0]);
  assertEquals(bytes, [9, 8]);
  assertEquals(heads.map(({ length }) => length), [0, 0]);
  unharmed(pool);
});

Deno.test("readFrames() checks the options of heads at once", () => {
  using pool = poolOf(8);
  const reader = readerOf(pattern(1));
  const call = readFrames as (...args: unknown[]) => unknown;
  const one = { header: 1, length: () => 1 };
  const wrong: [unknown, typeof TypeError | typeof RangeError, string][] = [
    [{ ...one, header: 0 }, RangeError, "from 1 to the blockSize of pool (8)"],
    [{ ...one, header: 9 }, RangeError, "got 9"],
    [{ ...one, header: 1.5 }, RangeError, "got 1.5"],
    [{ ...one, header: "1" }, TypeError, 'got "1"'],
    [{ header: 1 }, TypeError, "length must be a function, got undefined"],
    [{ ...one, lengthBytes: 1 }, TypeError, 'unknown option "lengthBytes"'],
    [{ ...one, littleEndian: true }, TypeError, "unknown option"],
    [{ ...one, limit: 9 }, RangeError, "from 0 to 8, got 9"],
    [{ length: () => 1 }, TypeError, 'unknown option "length"'],
  ];
  for (const [options, Kind, message] of wrong) {
    assertThrows(() => call(reader, pool, options), Kind, message);
  }
});
