// Code of the caller that runs in the middle of a call: it throws, answers otherwise the second time, or
// acts on the pool from within. The process lives, and no block and no waiter is lost.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import {
  type Block,
  BlockPool,
  type Pool,
  SizeClassPool,
  SmritiError,
} from "@smriti/pool";
import { sharedPool } from "../shared/pools.ts";
import { catchErrors } from "../support/console.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { lawful } from "../support/invariants.ts";
import { refused, rejected, takeAll, until } from "../support/misuse.ts";
import { hasNative } from "../support/platform.ts";

const SIZE = 64;

/** What cannot even be shown. */
function unshowable(): Error {
  return Object.assign(new Error("hidden"), {
    [Symbol.for("Deno.customInspect")]() {
      throw new Error("no");
    },
  });
}

Deno.test("a listener's error that cannot be shown is counted, and the next event is told", async () => {
  using errors = catchErrors();
  const { error: remember } = console;
  console.error = (what, error) => {
    remember(what, error);
    Deno.inspect(error); // as the real one does
  };
  const pool = new BlockPool({
    blockSize: SIZE,
    maxBlocks: 4,
    reservedBlocks: 1,
  });
  let told = 0;
  pool.addEventListener("exhausted", () => {
    told++;
    throw unshowable();
  });
  pool.addEventListener(
    "exhausted",
    (() => Promise.reject(unshowable())) as never,
  );
  const blocks = takeAll(pool);
  assertEquals(pool.tryAcquire(), undefined);
  await until(() => pool.stats().listenerErrors === 4);
  assertEquals(told, 2);
  for (const [what] of errors.lines) {
    assertEquals(what, `a listener for "exhausted" failed:`);
  }
  const hidden = errors.lines.filter(([, error]) => typeof error === "string");
  assertEquals(hidden.length, 4);
  for (const block of blocks) block.release();
  await pool.close();
});

Deno.test("addEventListener() refuses wrong options by name, and listens to nothing then", async () => {
  const pool = new BlockPool({ blockSize: SIZE, maxBlocks: 1 });
  const wrong: [unknown, RegExp][] = [
    [{ once: "no" }, /^once must be .*"no"/],
    [{ onec: true }, /unknown option "onec"; known are once, signal/],
    [{ signal: 1 }, /^signal must be an AbortSignal, got 1/],
    [5, /^options must be an object, got 5/],
    [null, /^options must be an object, got null/],
  ];
  let told = 0;
  for (const [options, message] of wrong) {
    const error = assertThrows(
      () => pool.addEventListener("close", () => told++, options as never),
      TypeError,
    );
    assert(message.test(error.message), error.message);
  }
  await pool.close();
  assertEquals(told, 0);
});

Deno.test("a program's own Error.prepareStackTrace costs the places, nothing else", async () => {
  const { prepareStackTrace } = Error as { prepareStackTrace?: unknown };
  for (
    const own of [(_: Error, frames: unknown[]) => frames, () => {
      throw new Error("no stacks today");
    }]
  ) {
    using time = new FakeTime();
    const pool = new BlockPool({
      blockSize: SIZE,
      maxBlocks: 2,
      overdueMs: 50,
      leakDetection: "all",
    });
    const stacks: (string | undefined)[] = [];
    pool.addEventListener("overdue", (e) => stacks.push(e.detail.stack));
    try {
      Object.assign(Error, { prepareStackTrace: own });
      const block = pool.acquireSync();
      time.tick(100);
      block.release();
    } finally {
      Object.assign(Error, { prepareStackTrace });
    }
    assertEquals(stacks, [undefined]);
    await pool.close();
  }
});

for (const kind of ["BlockPool", "SharedBlockPool"]) {
  Deno.test(`an acquire whose signal is aborted by a listener of "grow" does not wait: ${kind}`, async () => {
    const options = {
      blockSize: 16_384,
      maxBlocks: 4,
      initialBlocks: 2,
      growThreshold: 1,
      growStep: 0.25,
    };
    const pool = kind === "BlockPool"
      ? new BlockPool(options)
      : sharedPool(options);
    const abort = new AbortController();
    const taken = new DisposableStack();
    pool.addEventListener("grow", () => {
      for (let block; (block = pool.tryAcquire()) !== undefined;) {
        taken.use(block);
      }
      abort.abort(new Error("stop"));
    });
    await assertRejects(
      () => pool.acquireMany(3, { signal: abort.signal }),
      Error,
      "stop",
    );
    assertEquals(pool.stats().waiting, 0);
    taken.dispose();
    await pool.close();
  });
}

Deno.test("an interruption is found inside of any other error", async () => {
  const interrupted = () => new Deno.errors.Interrupted("closed");
  const deep = () => {
    let error: Error = interrupted();
    for (let i = 0; i < 50; i++) error = new Error("outer", { cause: error });
    return error;
  };
  const circle = new Error("circle");
  circle.cause = circle;
  const endless = () => {
    let error = new Error("innermost");
    for (let i = 0; i < 20_000; i++) {
      error = new Error("outer", { cause: error });
    }
    return error;
  };
  const many = Array.from({ length: 500 }, (_, i) => new Error(`${i}`));
  const endlessly = Object.assign(new AggregateError([]), {
    errors: {
      *[Symbol.iterator]() {
        for (;;) yield {};
      },
    },
  });
  const cases: [Error, boolean][] = [
    [new AggregateError(many), false],
    [endlessly, true],
    [new SuppressedError(new Error("later"), interrupted()), true],
    [new SuppressedError(interrupted(), new Error("first")), true],
    [new AggregateError([new Error("one"), interrupted()]), true],
    [new AggregateError([new AggregateError([deep()])]), true],
    [deep(), true],
    [endless(), true],
    [circle, false],
    [new AggregateError([new Error("one"), 5]), false],
    [new SuppressedError(new Error("later"), "first"), false],
  ];
  for (const [error, isLost] of cases) {
    const pool = new BlockPool({ blockSize: SIZE, maxBlocks: 1 });
    const block = pool.acquireSync();
    const lend = block.lend(() => Promise.reject(error));
    block.release();
    assertEquals(await lend.catch((e) => e), error);
    assertEquals(lawful(pool).abandonedBlocks, isLost ? 1 : 0, `${error}`);
    await pool.close();
  }
});

Deno.test("lend() with wrong options leaves the promise's failure to nobody", async () => {
  const pool = new BlockPool({ blockSize: SIZE, maxBlocks: 1 });
  using block = pool.acquireSync();
  const failing = Promise.reject(new Error("nobody handles this"));
  await assertRejects(
    () => block.lend(failing, { sockets: true } as never),
    TypeError,
    "sockets",
  );
  // An unhandled rejection would end this test's process.
  await new Promise((resolve) => setTimeout(resolve, 1));
});

Deno.test("lend() of a handle that its own options release is refused", async () => {
  const pool = new BlockPool({ blockSize: SIZE, maxBlocks: 1 });
  const stale = pool.acquireSync();
  let next: Block | undefined;
  const options = {
    get socket() {
      stale.release();
      next = pool.acquireSync();
      return false;
    },
  };
  const failing = () => Promise.reject(new Deno.errors.Interrupted("closed"));
  await rejected("released", stale.lend(failing, options));
  const { lentBlocks, abandonedBlocks } = lawful(pool);
  assertEquals([lentBlocks, abandonedBlocks], [0, 0]);
  next!.bytes[0] = 1;
  next!.release();
  await pool.close();
});

/** A pool in strict mode of which a released block was written to. */
function stained(maxBlocks: number): BlockPool {
  const pool = new BlockPool({ blockSize: SIZE, maxBlocks, safety: "strict" });
  const late = pool.acquireSync();
  // SAFETY: the slot stays mapped and, below a page, accessible as long as the pool is open.
  const raw = new Uint8Array(
    Deno.UnsafePointerView.getArrayBuffer(late.pointer, SIZE),
  );
  late.release();
  raw[3] = 7;
  return pool;
}

Deno.test("an acquire that finds the last block written to is given a fresh one", async () => {
  for (const [maxBlocks, count] of [[1, 1], [2, 2]]) {
    const pool = stained(maxBlocks);
    const blocks = await pool.acquireMany(count);
    for (const { bytes } of blocks) {
      assert(bytes.every((byte) => byte === 0));
    }
    await rejected("corrupted", pool.acquireMany(count));
    const { waiting, abandonedBlocks, capacityBlocks } = lawful(pool);
    assertEquals([waiting, abandonedBlocks, capacityBlocks], [0, 1, maxBlocks]);
    for (const block of blocks) block.release();
    await pool.close();
  }
});

/** A slab without a spare slot, so that what is lost can only be replaced by the OS. */
const SLAB = 64;

Deno.test({
  name:
    "an acquire that finds the last block written to is refused, not left waiting, if the OS has no other",
  ignore: !hasNative,
}, async () => {
  using backend = new FailingBackend();
  const pool = stained(SLAB);
  backend.fails = (call) => call === "map";
  await rejected("corrupted", pool.acquireMany(SLAB));
  const { waiting, capacityBlocks, growFailures } = lawful(pool);
  assertEquals([waiting, capacityBlocks, growFailures], [0, SLAB - 1, 1]);
  await rejected("exhausted", pool.acquireMany(SLAB));
  (await pool.acquireMany(SLAB - 1))[Symbol.dispose]();
  await pool.close();
});

Deno.test("a waiter for whom a block is replaced is served when a lend ends", async () => {
  const pool = stained(2);
  const other = pool.acquireSync();
  const waiter = pool.acquireMany(2);
  const { promise, resolve } = Promise.withResolvers<void>();
  const lend = other.lend(() => promise);
  void other.bytes;
  other.release();
  resolve();
  await lend;
  const blocks = await waiter;
  const error = assertThrows(() => blocks[Symbol.dispose](), SmritiError);
  assertEquals(error.code, "corrupted");
  assertEquals(lawful(pool).freeBlocks, 2);
  await pool.close();
});

Deno.test({
  name: "a waiter for whom too few blocks are left is refused when a lend ends",
  ignore: !hasNative,
}, async () => {
  using backend = new FailingBackend();
  const pool = stained(SLAB);
  const other = pool.acquireSync();
  const waiter = pool.acquireMany(SLAB);
  const { promise, resolve } = Promise.withResolvers<void>();
  const lend = other.lend(() => promise);
  void other.bytes;
  other.release();
  backend.fails = (call) => call === "map";
  const refusal = rejected("exhausted", waiter);
  resolve();
  await lend;
  await refusal;
  assertEquals(lawful(pool).capacityBlocks, SLAB - 1);
  await rejected("corrupted", pool.close());
});

Deno.test("what strict mode finds after close() gave up is shown", async () => {
  using errors = catchErrors();
  const pool = stained(8);
  const held = pool.acquireSync();
  await rejected("timeout", pool.close({ timeoutMs: 1 }));
  assertEquals(errors.lines.length, 1);
  assertStringIncludes(
    `${errors.lines[0]}`,
    "was written to after its release",
  );
  held.release();
});

const KINDS: Record<string, () => Pool> = {
  BlockPool: () => new BlockPool({ blockSize: SIZE, maxBlocks: 4 }),
  SharedBlockPool: () => sharedPool({ blockSize: SIZE, maxBlocks: 4 }),
};

for (const [kind, make] of Object.entries(KINDS)) {
  Deno.test(`${kind} reads options once: a getter cannot pass the check and then say something else`, async () => {
    await using pool = make();
    const reads: Record<string, number> = {};
    const changing = (values: Record<string, unknown[]>) =>
      Object.defineProperties(
        {},
        Object.fromEntries(
          Object.entries(values).map(([name, [first, ...more]]) => [name, {
            enumerable: true,
            get() {
              reads[name] = (reads[name] ?? 0) + 1;
              return reads[name] === 1 ? first : more[0];
            },
          }]),
        ),
      );
    const block = await pool.acquire(
      changing({
        tag: ["fine", 7],
        timeoutMs: [5, "soon"],
        reserved: [false, 1],
      }),
    );
    assertEquals(block.tag, "fine");
    block.release();
    assertEquals(reads, { tag: 1, timeoutMs: 1, reserved: 1 });
  });
}

Deno.test("a SizeClassPool takes options as a BlockPool does, and reads them once", async () => {
  const inherited = { name: "mine", zero: false };
  const own = { blockSize: SIZE, maxBlocks: 1 };
  const classes = new SizeClassPool([
    Object.assign(Object.create(inherited), own),
  ]);
  assertEquals(classes.stats()[0].name, "mine");
  const block = classes.tryAcquire(1)!;
  const options = Object.create({ timeoutMs: 0 });
  await rejected("timeout", classes.acquire(1, options));
  assertThrows(
    () => classes.tryAcquire(1, { upgrad: true } as never),
    TypeError,
    "upgrad",
  );
  block.release();
  await classes.close();

  let reads = 0;
  const sly = {
    get blockSize() {
      return reads++ === 0 ? 1 : SIZE;
    },
    maxBlocks: 1,
  };
  const two = new SizeClassPool([own, sly]);
  assertEquals(two.stats().map(({ blockSize }) => blockSize), [1, SIZE]);
  let asked = 0;
  const closing = {
    get timeoutMs() {
      if (asked++ > 0) throw new Error("asked twice");
      return 10;
    },
  };
  await two.close(closing);
  refused("closed", () => two.tryAcquire(SIZE));
});

Deno.test("a SuppressedError is what use() gives when both fail", async () => {
  const pool = new BlockPool({
    blockSize: SIZE,
    maxBlocks: 8,
    safety: "strict",
  });
  // One may be in quarantine: the next release looks at the one before.
  const late = pool.acquireSync();
  const raw = new Uint8Array(
    // SAFETY: as in `stained`.
    Deno.UnsafePointerView.getArrayBuffer(late.pointer, SIZE),
  );
  late.release();
  raw[3] = 7;
  const error = await pool.use((block) => {
    block.bytes[0] = 1;
    throw new Error("mine");
  }).catch((error) => error);
  assertInstanceOf(error, SuppressedError);
  assertEquals(error.error.code, "corrupted");
  assertEquals(error.suppressed.message, "mine");
  await pool.close();
});
