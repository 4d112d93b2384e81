// What the process may have: told from the files of control groups, from resource limits and the machine,
// without a permission being asked for; and what a pool that can come to more says and does.

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { SharedBlockPool } from "@smriti/pool/shared";
import { FakeTime } from "@std/testing/time";
import {
  BlockPool,
  type MemoryLimit,
  memoryLimit,
  type PoolOptions,
  SizeClassPool,
  SmritiError,
} from "../../mod.ts";
import { cgroups } from "../../pool/cgroup.ts";
import { cgroupLimits, tightest } from "../../pool/memory_limit.ts";
import { catchWarnings } from "../support/console.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { FakeSystem, version1, version2 } from "../support/fake_system.ts";
import { canRunDeno, hasNative, hasPosixShell } from "../support/platform.ts";

const MIB = 2 ** 20;
const GROUPS = "/sys/fs/cgroup";

function limitIn(files: Record<string, string>): number | undefined {
  using system = new FakeSystem(files);
  return tightest(cgroupLimits(system.root))?.bytes;
}

Deno.test("version 2: the tightest on the path up counts, whichever it is", () => {
  const files = {
    ...version2("/a/b/c"),
    [`${GROUPS}/a/memory.max`]: "300\n",
    [`${GROUPS}/a/b/memory.max`]: "max\n",
    [`${GROUPS}/a/b/c/memory.max`]: "400\n",
  };
  assertEquals(limitIn(files), 300);
  assertEquals(limitIn({ ...files, [`${GROUPS}/a/b/c/memory.max`]: "7" }), 7);
  assertEquals(limitIn({ ...files, [`${GROUPS}/a/b/memory.max`]: "8" }), 8);
  // Of another group: on no path of ours.
  assertEquals(limitIn({ ...files, [`${GROUPS}/a/d/memory.max`]: "9" }), 300);
});

Deno.test("version 2 in a container: the mount shows the own group only", () => {
  const file = { [`${GROUPS}/memory.max`]: "314572800\n" };
  for (const [path, top] of [["/", "/"], ["/docker/1", "/docker/1"]] as const) {
    assertEquals(limitIn({ ...version2(path, top), ...file }), 300 * MIB);
  }
});

Deno.test("version 1: each level, and what it knows of those above the mount", () => {
  const own = `${GROUPS}/cpu,memory`;
  const none = "9223372036854771712\n";
  const files = {
    ...version1("/docker/1"),
    [`${own}/memory.limit_in_bytes`]: none,
    [`${own}/docker/memory.limit_in_bytes`]: "500\n",
    [`${own}/docker/1/memory.limit_in_bytes`]: "600\n",
    [`${GROUPS}/devices/memory.limit_in_bytes`]: "1\n",
  };
  assertEquals(limitIn(files), 500);
  const inside = {
    ...version1("/docker/1", "/docker/1"),
    [`${own}/memory.limit_in_bytes`]: "600\n",
  };
  assertEquals(limitIn(inside), 600);
  const stat = "cache 1\nhierarchical_memory_limit 500\ntotal_cache 1\n";
  assertEquals(limitIn({ ...inside, [`${own}/memory.stat`]: stat }), 500);
});

Deno.test("no limit is no limit, and what is no number neither", () => {
  for (
    const text of [
      "max\n",
      "",
      "0\n",
      "-1\n",
      "1e400",
      "x",
      "18446744073709551615",
    ]
  ) {
    const files = { ...version2("/a"), [`${GROUPS}/a/memory.max`]: text };
    assertEquals(limitIn(files), undefined, text);
  }
  assertEquals(limitIn({}), undefined);
  assertEquals(
    limitIn({
      "/proc/self/cgroup": "\n\0\n::",
      "/proc/self/mountinfo": " - \n- - -",
    }),
    undefined,
  );
});

Deno.test("groups that the process is not in are not taken for its own", () => {
  const file = { [`${GROUPS}/memory.max`]: "5\n" };
  // Moved out of its namespace; a mount of another group; a name that only begins alike.
  for (
    const [path, top] of [["/../x", "/"], ["/a", "/b"], ["/ab", "/a"]] as const
  ) {
    assertEquals(limitIn({ ...version2(path, top), ...file }), undefined);
  }
});

Deno.test("names of folders may have spaces and colons in them", () => {
  using system = new FakeSystem({
    "/proc/self/cgroup": "0::/my group:1\n",
    "/proc/self/mountinfo":
      "31 23 0:26 / /sys/my\\040groups rw - cgroup2 none rw\n",
    "/sys/my groups/my group:1/memory.max": "77\n",
  });
  assertEquals(cgroupLimits(system.root), [{ bytes: 77, source: "cgroup" }]);
  assertEquals(cgroups(system.root).length, 2);
});

Deno.test("memoryLimit() of this process is a frozen number of bytes", {
  ignore: !hasNative,
}, () => {
  const limit = memoryLimit();
  if (limit === undefined) return;
  assert(Object.isFrozen(limit) && Number.isSafeInteger(limit.bytes));
  assert(limit.bytes > 32 * MIB, "this very process fits into it");
});

/** What a child with these permissions says, after `shell` has set its limits. */
async function askChild(shell: string, ...flags: string[]) {
  const library = new URL("../../mod.ts", import.meta.url).href;
  const script = `import { memoryLimit } from ${JSON.stringify(library)};
console.log(JSON.stringify(memoryLimit() ?? null));`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, script);
    const { stdout, stderr } = await new Deno.Command("sh", {
      args: [
        "-c",
        `${shell} exec "$@"`,
        "sh",
        Deno.execPath(),
        "run",
        "--no-check",
        "--no-config",
        ...flags,
        file,
      ],
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    assertEquals(decoder.decode(stderr), "");
    return JSON.parse(decoder.decode(stdout)) as MemoryLimit | null;
  } finally {
    await Deno.remove(file);
  }
}

const canLimit = canRunDeno && hasPosixShell && hasNative;

Deno.test("resource limits are seen with --allow-ffi alone", {
  ignore: !canLimit,
}, async () => {
  const free = await askChild("", "--allow-ffi");
  const kib = 1_000_000;
  if (free !== null && free.bytes < 2 * kib * 1024) return;
  assertEquals(await askChild(`ulimit -d ${kib};`, "--allow-ffi"), {
    source: "RLIMIT_DATA",
    bytes: kib * 1024,
  });
});

Deno.test("without permissions nothing is known, and nothing is asked", {
  ignore: !canLimit,
}, async () => {
  assertEquals(await askChild("ulimit -d 1000000;"), null);
  const machine = await askChild("", "--allow-sys=systemMemoryInfo");
  assertEquals(machine?.source, "machine");
});

/** A machine that has so many bytes. */
function machineOf(bytes: number): FailingBackend {
  const backend = new FailingBackend();
  const limits = (): MemoryLimit[] => [{ bytes, source: "cgroup" }];
  backend.host = { limits, read: () => "" };
  return backend;
}

const LARGE: PoolOptions = { blockSize: MIB, maxBlocks: 100, initialBlocks: 1 };

/** A scene with a limit of 50 MiB and a clock. */
function scene(limit = 50 * MIB) {
  const time = new FakeTime();
  const backend = machineOf(limit);
  const warnings = catchWarnings();
  return {
    time,
    backend,
    warnings: (): string[] => warnings.lines.map(String),
    [Symbol.dispose]: () => {
      warnings[Symbol.dispose]();
      backend[Symbol.dispose]();
      time.restore();
    },
  };
}

const test = (name: string, fn: () => void | Promise<void>) =>
  Deno.test({ name, fn, ignore: !hasNative });

test("a pool that can come to more than the limit warns once, with what fits", async () => {
  using stage = scene();
  await using pool = new BlockPool({ ...LARGE, name: "big" });
  assertEquals(stage.warnings(), []);
  stage.time.tick(0);
  assertEquals(stage.warnings().length, 1);
  const [said] = stage.warnings();
  for (
    const part of [
      '"big"',
      `${100 * MIB}`,
      `${50 * MIB}`,
      "at most 50 blocks",
      "maxBlocks is 100",
    ]
  ) {
    assertStringIncludes(said!, part);
  }
  stage.time.tick(120_000);
  assertEquals(stage.warnings().length, 1);
  assertEquals(pool.stats().committedBlocks, 1);
});

test("a listener is told instead", async () => {
  using stage = scene();
  await using pool = new BlockPool({ ...LARGE, name: "big" });
  const told: unknown[] = [];
  pool.addEventListener("oversized", ({ detail }) => told.push(detail));
  stage.time.tick(0);
  stage.time.tick(120_000);
  assertEquals(told, [{
    pool: "big",
    mostBytes: 100 * MIB,
    limitBytes: 50 * MIB,
  }]);
  assertEquals(stage.warnings(), []);
});

test("the blocks that fit are counted by their stride, and may be none", async () => {
  using stage = scene(50 * MIB);
  await using _odd = new BlockPool({ ...LARGE, blockSize: MIB + 16 });
  await using _huge = new BlockPool({
    ...LARGE,
    blockSize: MIB + 16,
    hugePages: true,
  });
  await using _none = new BlockPool({ blockSize: 60 * MIB, maxBlocks: 1 });
  await using _heap = new BlockPool({ ...LARGE, backend: "heap" });
  stage.time.tick(0);
  assertEquals(stage.warnings().length, 4);
  // 1 MiB + 1 page; one in a huge page.
  const expected = [
    "at most 49 blocks",
    "at most 25 blocks",
    "not even one block",
    "at most 50 blocks",
  ];
  if (stage.backend.abilities.hugePageSize === 0) expected[1] = expected[0]!;
  for (const [at, part] of expected.entries()) {
    assertStringIncludes(stage.warnings()[at]!, part);
  }
});

test("a pool that just fits says nothing, nor one that is closed by then", async () => {
  using stage = scene(100 * MIB);
  await using _fits = new BlockPool(LARGE);
  await new BlockPool({ ...LARGE, maxBlocks: 101 }).close();
  stage.time.tick(0);
  assertEquals(stage.warnings(), []);
});

test("prefault beyond the limit is refused, and nothing is mapped", () => {
  using stage = scene();
  const options = { ...LARGE, prefault: true };
  const error = assertThrows(
    () => new BlockPool(options),
    SmritiError,
    "at most 50 blocks",
  );
  assertEquals(error.code, "out-of-memory");
  assertEquals(error.cause, {
    call: "prefault",
    bytes: 100 * MIB,
    error: "cgroup",
  });
  assertEquals(stage.backend.made, []);
  // What the pool would take is told all the same.
  assertEquals(BlockPool.footprint(options).mostBytes, 100 * MIB);
  const classes = [{ ...LARGE, blockSize: 4096 }, options];
  assertThrows(() => new SizeClassPool(classes), SmritiError, "prefault");
  assertEquals(stage.backend.mapped, 0);
  stage.time.tick(0);
  assertEquals(stage.warnings(), []);
});

for (const kind of ["own", "shared"]) {
  test(`after a refusal of the OS, timeout and exhausted have it as their cause: ${kind}`, async () => {
    using backend = new FailingBackend();
    const options = {
      blockSize: 4096,
      maxBlocks: 8,
      initialBlocks: 1,
      maxWaiting: 1,
    };
    await using pool = kind === "shared"
      ? SharedBlockPool.create(options)
      : new BlockPool(options);
    backend.fails = (call) => call === "commit";
    const block = pool.acquireSync();
    const code = (error: unknown) => {
      const { code, cause } = error as SmritiError;
      assert(cause instanceof SmritiError, `${error} has the cause ${cause}`);
      assertEquals([cause.code, (cause.cause as { call: string }).call], [
        "out-of-memory",
        "commit",
      ]);
      return code;
    };
    assertEquals(code(assertThrows(() => pool.acquireSync())), "exhausted");
    assertEquals(
      code(await assertRejects(() => pool.acquire({ timeoutMs: 0 }))),
      "timeout",
    );
    const late = assertRejects(() => pool.acquire({ timeoutMs: 20 }));
    assertEquals(code(await assertRejects(() => pool.acquire())), "exhausted");
    assertEquals(code(await late), "timeout");
    assertEquals(
      code(await assertRejects(() => pool.acquireMany(3, { timeoutMs: 0 }))),
      "timeout",
    );
    // Where the limit is the pool's own, there is none.
    backend.fails = () => false;
    using _all = await pool.acquireMany(7, { timeoutMs: 5000 });
    const { code: own, cause } = assertThrows(
      () => pool.acquireSync(),
      SmritiError,
    );
    assertEquals([own, cause], ["exhausted", undefined]);
    assert(!("cause" in assertThrows(() => pool.acquireSync(), SmritiError)));
    block.release();
  });
}

test("a shared pool that can come to more than fits says so once, in the isolate that makes it", async () => {
  using stage = scene();
  const pool = SharedBlockPool.create({ ...LARGE, name: "big" });
  const other = SharedBlockPool.attach(pool.handle);
  stage.time.tick(0);
  assertEquals(stage.warnings().length, 1);
  assertStringIncludes(stage.warnings()[0]!, "at most 50 blocks");
  other.leave();
  const closed = pool.close();
  stage.time.tick(1000);
  await closed;
});

Deno.test("a wrong pressureTrim is refused", () => {
  const options = { blockSize: 1, maxBlocks: 1, backend: "heap" } as const;
  const error = assertThrows(
    () => new BlockPool({ ...options, pressureTrim: 1 as never }),
    TypeError,
  );
  assertMatch(error.message, /pressureTrim must be true or false, got 1/);
});
