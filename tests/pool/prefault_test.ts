// Faulting pages in ahead goes on in turns beside the pool: it must reach all that has memory, nothing
// that has none any more, and end with the pool.

import { assert, assertEquals, assertGreater } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { BlockPool } from "../../mod.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { gone } from "../support/invariants.ts";
import { refused, takeAll } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";
import { pagePool } from "../support/sizes.ts";

const MIB = 2 ** 20;

/** A system whose pages can be faulted in ahead, as far as the pool knows. */
class Prefaulting extends FailingBackend {
  override readonly abilities = { ...this.real.abilities, prefaults: true };
}

/** Lets every turn have its time. */
function settle(time: FakeTime): void {
  for (let turn = 0; turn < 5000; turn++) time.tick(1);
}

const test = (name: string, fn: () => void | Promise<void>) =>
  Deno.test({ name, fn, ignore: !hasNative });

const SIZES: [blockSize: number, maxBlocks: number, hugePages: boolean][] = [
  [1, 1000, false],
  [4096, 100, false],
  [5000, 33, false],
  [65_536, 100, false],
  [MIB + 16, 9, false],
  [5000, 1000, true],
  [MIB + 16, 9, true],
  [3 * MIB, 3, true],
];

for (const [blockSize, maxBlocks, hugePages] of SIZES) {
  const name = `${maxBlocks} blocks of ${blockSize} bytes` +
    (hugePages ? " in huge pages" : "");
  test(`all memory is faulted in, in pieces, and once: ${name}`, () => {
    using time = new FakeTime();
    using backend = new Prefaulting();
    const pool = new BlockPool({
      blockSize,
      maxBlocks,
      hugePages,
      initialBlocks: 1,
      prefault: true,
    });
    for (const block of takeAll(pool)) block.release();
    settle(time);
    const sizes = backend.sizes("prefault");
    const most = hugePages ? 2 * MIB : 65_536;
    assert(sizes.every((size) => size > 0 && size <= most), `${sizes}`);
    const { committedBytes } = pool.stats();
    assertEquals(sizes.reduce((sum, size) => sum + size), committedBytes);
    pool[Symbol.dispose]();
    assertEquals(backend.violations, []);
  });
}

test("new BlockPool() that fails leaves no prefault behind", () => {
  using time = new FakeTime();
  using backend = new Prefaulting();
  backend.fails = (call) => call === "commit" && backend.made.length < 2;
  refused("out-of-memory", () => pagePool({ prefault: true }));
  settle(time);
  assertEquals(backend.sizes("prefault"), []);
  assertEquals(backend.violations, []);
});

test("what trim() gives back in the middle of it is not faulted in", () => {
  using time = new FakeTime();
  using backend = new Prefaulting();
  const pool = pagePool({ blockSize: 4 * MIB, prefault: true });
  for (const block of takeAll(pool)) block.release();
  for (let turn = 0; turn < 30; turn++) time.tick(1);
  assertGreater(backend.sizes("prefault").length, 10);
  pool.trim();
  settle(time);
  pool[Symbol.dispose]();
  assertEquals(backend.violations, []);
});

test("the OS refuses a piece: what is left is not tried, what comes later is", () => {
  using time = new FakeTime();
  using backend = new Prefaulting();
  backend.fails = (call) => call === "prefault";
  const pool = pagePool({ prefault: true });
  settle(time);
  assertEquals(backend.sizes("prefault").length, 1);
  backend.fails = () => false;
  const blocks = takeAll(pool);
  settle(time);
  assertGreater(backend.sizes("prefault").length, 1);
  for (const block of blocks) block.release();
  pool[Symbol.dispose]();
});

test("a pool that closes in the middle of it ends, and nothing comes after", async () => {
  using time = new FakeTime();
  using backend = new Prefaulting();
  const pool = pagePool({ blockSize: MIB, prefault: true });
  const blocks = takeAll(pool);
  const block = blocks.pop()!;
  for (const each of blocks) each.release();
  for (let turn = 0; turn < 3; turn++) time.tick(1);
  const before = backend.sizes("prefault").length;
  const closing = pool.close();
  settle(time);
  assertEquals(backend.sizes("prefault").length, before);
  block.release();
  await closing;
  gone(pool);
  assertEquals(backend.violations, []);
});
