// Every option: its default, its limits from both sides, and what the message says of a wrong one.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { BlockPool, type PoolOptions, SizeClassPool } from "../../mod.ts";
import { fillOptions, shareOf } from "../../pool/options.ts";

/** Options as a program without a type checker may give them. */
type Wild = { [Name in keyof PoolOptions]?: unknown } & Record<string, unknown>;

function fill(options: Wild) {
  return fillOptions(
    { blockSize: 64, maxBlocks: 10, ...options } as PoolOptions,
  );
}

/** The message of the error that these options give, which must be of this class. */
function refusal(
  Kind: typeof TypeError | typeof RangeError,
  options: Wild,
): string {
  const error = assertThrows(() => fill(options));
  assertInstanceOf(error, Kind, Deno.inspect(options));
  return error.message;
}

Deno.test("fillOptions() fills every default", () => {
  assertEquals(fillOptions({ blockSize: 64, maxBlocks: 10 }), {
    blockSize: 64,
    maxBlocks: 10,
    initialBlocks: 2,
    reservedBlocks: 0,
    growThreshold: 0.8,
    growStep: 0.1,
    shrinkThreshold: 0.5,
    shrinkStep: 0.1,
    shrinkIntervalMs: 60_000,
    safety: "revoke",
    zero: true,
    maxWaiting: 65_536,
    leakDetection: "sampled",
    maxAbandonedBytes: undefined,
    overdueMs: undefined,
    stallMs: 10_000,
    prefault: false,
    pressureTrim: true,
    hugePages: false,
    backend: "native",
    name: "smriti",
  });
});

Deno.test("fillOptions() takes undefined for not given, and freezes the result", () => {
  const plain = fill({});
  const undefineds = Object.keys(plain)
    .filter((name) => name !== "blockSize" && name !== "maxBlocks")
    .map((name) => [name, undefined]);
  assertEquals(fill(Object.fromEntries(undefineds)), plain);
  assert(Object.isFrozen(plain));
});

Deno.test("fillOptions() keeps what is given, at both ends of every range", () => {
  const given: Wild[] = [
    { blockSize: 1 },
    { blockSize: 2 ** 46, maxBlocks: 1 },
    { maxBlocks: 1, initialBlocks: 1 },
    { maxBlocks: 2 ** 30 },
    { initialBlocks: 1 },
    { initialBlocks: 10 },
    { reservedBlocks: 4, initialBlocks: 5 },
    { maxBlocks: 11, reservedBlocks: 5, initialBlocks: 6 },
    { growThreshold: 0.56 },
    { growThreshold: 1, growStep: 1 },
    { growStep: 1e-9 },
    { shrinkThreshold: 0.9999, shrinkStep: 0.99 },
    { shrinkThreshold: 1e-3, shrinkStep: 1e-4, growThreshold: 1 },
    { shrinkStep: 1e-9 },
    { shrinkIntervalMs: 1 },
    { shrinkIntervalMs: 2 ** 31 - 1 },
    { safety: "trust" },
    { zero: false },
    { maxWaiting: 0 },
    { maxWaiting: Number.MAX_SAFE_INTEGER },
    { leakDetection: "off" },
    { maxAbandonedBytes: 0 },
    { maxAbandonedBytes: 0.5 },
    { maxAbandonedBytes: Infinity },
    { overdueMs: 1 },
    { overdueMs: 2 ** 31 - 1 },
    { stallMs: 1 },
    { stallMs: 2 ** 31 - 1 },
    { stallMs: Infinity },
    { prefault: true, hugePages: true },
    { backend: "heap" },
    { backend: "auto" },
    { name: "" },
  ];
  for (const options of given) {
    assertEquals(fill(options), { ...fill(options), ...options });
  }
});

Deno.test("initialBlocks is 20 % of maxBlocks, at least 1, plus the reserved ones", () => {
  const cases: [maxBlocks: number, reservedBlocks: number, initial: number][] =
    [
      [1, 0, 1],
      [2, 0, 1],
      [3, 0, 1],
      [3, 1, 2],
      [5, 0, 1],
      [6, 0, 2],
      [10, 0, 2],
      [10, 4, 6],
      [15, 0, 3],
      [100, 49, 69],
      [1000, 0, 200],
    ];
  for (const [maxBlocks, reservedBlocks, initial] of cases) {
    const { initialBlocks } = fill({ maxBlocks, reservedBlocks });
    assertEquals(initialBlocks, initial, `of ${maxBlocks}, ${reservedBlocks}`);
  }
});

Deno.test("every allowed reserve leaves the default initialBlocks allowed", () => {
  for (let maxBlocks = 1; maxBlocks <= 60; maxBlocks++) {
    for (let reserved = 0; reserved < maxBlocks / 2; reserved++) {
      const filled = fill({ maxBlocks, reservedBlocks: reserved });
      assert(filled.initialBlocks > reserved);
      assert(filled.initialBlocks <= maxBlocks);
    }
  }
});

Deno.test("shareOf() rounds up, but not for the noise of floating point", () => {
  assertEquals(shareOf(0.2, 10), 2);
  assertEquals(shareOf(0.1, 15), 2);
  assertEquals(shareOf(0.1, 30), 3); // 0.1 × 30 is 3.0000000000000004.
  assertEquals(shareOf(0.8, 15), 12);
  assertEquals(shareOf(0.7, 10), 7);
  assertEquals(shareOf(1e-6, 10), 1);
  assertEquals(shareOf(0.5, 0), 0);
  for (let percent = 1; percent <= 100; percent++) {
    for (let count = 0; count <= 500; count++) {
      const exact = Math.ceil(percent * count / 100);
      assertEquals(shareOf(percent / 100, count), exact);
    }
  }
});

Deno.test("a number out of its range is a RangeError with name, value and rule", () => {
  const values: Record<string, number[]> = {
    blockSize: [0, -1, 0.5, NaN, Infinity, 2 ** 46 + 1],
    maxBlocks: [0, -1, 1.5, NaN, Infinity, 2 ** 30 + 1],
    initialBlocks: [0, -1, 1.5, NaN, 11],
    reservedBlocks: [-1, 0.5, NaN, 5, Infinity],
    growThreshold: [0, -0.1, 1.01, NaN],
    growStep: [0, -0.1, 1.01, NaN],
    shrinkThreshold: [-0.01, 1, NaN],
    shrinkStep: [0, 1.01, NaN],
    shrinkIntervalMs: [0, -1, 1.5, NaN, 2 ** 31],
    maxWaiting: [-1, 0.5, NaN, Infinity],
    maxAbandonedBytes: [-1, -0.5, NaN, -Infinity],
    overdueMs: [0, -1, 1.5, NaN, 2 ** 31],
    stallMs: [0, -1, 1.5, NaN, 2 ** 31, -Infinity],
  };
  for (const [name, wrong] of Object.entries(values)) {
    for (const value of wrong) {
      const message = refusal(RangeError, { [name]: value });
      assert(message.startsWith(`${name} must be a`), message);
      assert(message.endsWith(`, got ${value}`), message);
    }
  }
});

Deno.test("a value of a wrong type is a TypeError with name, value and rule", () => {
  const strangers: [unknown, string][] = [
    ["8", '"8"'],
    [8n, "8n"],
    [null, "null"],
    [Symbol("s"), "Symbol(s)"],
    [[8], "an array"],
    [{}, "an object"],
    [() => 8, "a function"],
  ];
  const words = ["safety", "leakDetection", "backend"];
  const flags = ["zero", "prefault", "pressureTrim", "hugePages"];
  for (const name of Object.keys(fill({}))) {
    for (const [value, shown] of strangers) {
      const isText = typeof value === "string";
      if (isText && (words.includes(name) || name === "name")) continue;
      const message = refusal(TypeError, { [name]: value });
      assert(message.startsWith(`${name} must be `), message);
      assert(message.endsWith(`, got ${shown}`), message);
    }
    if (!flags.includes(name)) refusal(TypeError, { [name]: true });
  }
  for (const name of [...flags, ...words, "name"]) {
    assertStringIncludes(refusal(TypeError, { [name]: 1 }), `${name} must be `);
  }
});

Deno.test("a word that is not one of the known ones is a RangeError that lists them", () => {
  const message = refusal(RangeError, { safety: "Trust" });
  assertEquals(
    message,
    'safety must be one of "trust", "revoke", "strict", got "Trust"',
  );
  refusal(RangeError, { leakDetection: "some" });
  refusal(RangeError, { backend: "mmap" });
});

Deno.test("blockSize and maxBlocks have no default", () => {
  refusal(TypeError, { blockSize: undefined });
  refusal(TypeError, { maxBlocks: undefined });
});

Deno.test("an unknown option is a TypeError that names it and the known ones", () => {
  const message = refusal(TypeError, { blocksize: 1 });
  assertStringIncludes(message, '"blocksize"');
  for (const name of Object.keys(fill({}))) assertStringIncludes(message, name);
  // Also when its value says nothing.
  refusal(TypeError, { maxblocks: undefined });
});

Deno.test("options must be an object", () => {
  for (const wrong of [undefined, null, 1, "x", [], () => {}]) {
    const make = () => fillOptions(wrong as unknown as PoolOptions);
    assertThrows(make, TypeError, "options must be an object, got ");
  }
});

Deno.test("blockSize × maxBlocks is at most 2^46, whatever the two are", () => {
  for (let bits = 16; bits <= 45; bits++) {
    const blockSize = 2 ** bits;
    const maxBlocks = 2 ** (46 - bits);
    assertEquals(fill({ blockSize, maxBlocks }).maxBlocks, maxBlocks);
    assertStringIncludes(
      refusal(RangeError, { blockSize: blockSize + 1, maxBlocks }),
      `at most 2^46 bytes, got ${blockSize + 1} × ${maxBlocks}`,
    );
  }
});

Deno.test("reservedBlocks leaves more than half of maxBlocks to everybody", () => {
  for (let maxBlocks = 1; maxBlocks <= 30; maxBlocks++) {
    for (let reservedBlocks = 0; reservedBlocks <= 30; reservedBlocks++) {
      const options = { maxBlocks, reservedBlocks };
      if (reservedBlocks < maxBlocks / 2) fill(options);
      else refusal(RangeError, options);
    }
  }
});

Deno.test("initialBlocks must be more than reservedBlocks, and the message has both", () => {
  fill({ initialBlocks: 4, reservedBlocks: 3 });
  const message = refusal(RangeError, { initialBlocks: 3, reservedBlocks: 3 });
  assertEquals(
    message,
    "initialBlocks must be an integer above reservedBlocks (3) and at most maxBlocks (10), got 3",
  );
});

Deno.test("thresholds and steps that would make the pool oscillate are refused", () => {
  // (1 − 0.5) / (1 − 0.1) is 0.5555…
  fill({ growThreshold: 0.56 });
  const message = refusal(RangeError, { growThreshold: 0.55 });
  for (
    const part of [
      "growThreshold 0.55",
      "shrinkThreshold 0.5",
      "0.1",
      "shrinkThreshold must be above 0.505",
    ]
  ) {
    assertStringIncludes(message, part);
  }
  // Equal is refused, too: after the shrink the pool would stand at its threshold.
  refusal(RangeError, {
    shrinkThreshold: 0.5,
    shrinkStep: 0.5,
    growThreshold: 1,
  });
  // Divides by zero.
  assertStringIncludes(
    refusal(RangeError, { shrinkStep: 1 }),
    "shrinkStep must be below 1",
  );
  // In its own range, but then no growThreshold is large enough.
  assertStringIncludes(
    refusal(RangeError, { shrinkThreshold: 0, growThreshold: 1 }),
    "shrinkThreshold must be above 0.1",
  );
});

Deno.test("strict safety watches every lease, whatever leakDetection says", () => {
  for (const leakDetection of ["off", "sampled", undefined]) {
    const filled = fill({ safety: "strict", leakDetection });
    assertEquals(filled.leakDetection, "all");
  }
});

Deno.test("new BlockPool() throws for wrong options and shows the right ones", () => {
  const options = { blockSize: 100, maxBlocks: 7, name: "uploads" };
  assertThrows(
    () => new BlockPool({ ...options, maxBlocks: 0 }),
    RangeError,
    "maxBlocks must be an integer from 1",
  );
  using pool = new BlockPool(options);
  assertEquals([pool.blockSize, pool.maxBlocks, pool.name], [
    100,
    7,
    "uploads",
  ]);
  const { blockSize, maxBlocks, name } = pool.stats();
  assertEquals({ blockSize, maxBlocks, name }, options);
});

Deno.test("SizeClassPool() names a blockSize that cannot be shown as text", () => {
  for (const blockSize of [Symbol("big"), Object.create(null)]) {
    const error = assertThrows(
      () => new SizeClassPool([{ blockSize, maxBlocks: 1 }]),
      TypeError,
    );
    assertStringIncludes(error.message, "blockSize must be");
  }
});
