// A pool found by its name: one pool for all threads that join, in whatever order they come, compute, leave
// or dies meanwhile; and the registry on which threads see each other without asking.

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Threads } from "../../ffi/backend.ts";
import { PAGE_BYTES } from "../../ffi/process_page.ts";
import {
  keyOf,
  MAKING,
  ProcessRegistry,
} from "../../shared/join/process_registry.ts";
import { SharedBlockPool, type SharedPoolHandle } from "../../shared/mod.ts";
import { PAGE, sharedPool } from "./pools.ts";
import { type Puppet, troupe } from "./puppet.ts";
import { kill } from "../support/child.ts";
import { FailingBackend } from "../support/failing_backend.ts";
import { gone } from "../support/invariants.ts";
import { refused, rejected, until } from "../support/misuse.ts";
import { monotonic } from "../support/monotonic.ts";
import { canRunDeno, hasPosixShell, provesDeath } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const OPTIONS = { blockSize: PAGE, maxBlocks: 4 };

let names = 0;
/** A name of its own for each test: those of other files run in this process, too. */
function newName(): string {
  return `join test ${++names}`;
}

/** Workers that have joined nothing yet. Their end is the test's. */
async function threads(count: number) {
  const stage = sharedPool();
  const puppets = await troupe(stage, count);
  await Promise.all(
    puppets.map((puppet) => puppet.run(({ pool }) => pool.leave())),
  );
  await stage.close();
  return puppets;
}

/** Joins there, and says where the pool's memory is. */
function joinThere(puppet: Puppet, name: string): Promise<bigint> {
  return puppet.run(
    async ({ SharedBlockPool }, name, options) => {
      const pool = await SharedBlockPool.join(name, options);
      Object.assign(globalThis, { joined: pool });
      return pool.handle.range.base;
    },
    name,
    OPTIONS,
  );
}

function leaveThere(puppet: Puppet): Promise<void> {
  return puppet.run(() => {
    (globalThis as unknown as { joined: SharedBlockPool }).joined.leave();
  });
}

/** Computes there without a pause. */
async function computeThere(puppet: Puppet, ms: number) {
  const started = new Int32Array(new SharedArrayBuffer(4));
  const over = puppet.run(
    (_, started, ms) => {
      Atomics.store(started, 0, 1);
      const end = performance.now() + ms;
      while (performance.now() < end);
    },
    started,
    ms,
  );
  await until(() => Atomics.load(started, 0) === 1);
  return { over };
}

function baseOf({ handle }: SharedBlockPool): bigint {
  return handle.range.base;
}

Deno.test("those who join at once get one pool, which one of them has made", async () => {
  using puppets = await threads(5);
  for (let round = 0; round < 8; round++) {
    const name = newName();
    const [pool, ...bases] = await Promise.all([
      SharedBlockPool.join(name, OPTIONS),
      ...puppets.map((puppet) => joinThere(puppet, name)),
    ]);
    assertEquals(new Set(bases), new Set([baseOf(pool)]));
    assertEquals(pool.stats().attachedWorkers, 6);
    assertEquals(pool.name, name);
    await Promise.all(puppets.map(leaveThere));
    assertEquals(pool.stats().attachedWorkers, 1);
    pool.leave();
    gone(pool);
  }
});

Deno.test("one who joins late waits for members that compute, and makes no second pool", async () => {
  using puppets = await threads(3);
  const name = newName();
  const base = await joinThere(puppets[0], name);
  assertEquals(await joinThere(puppets[1], name), base);
  // Both, for longer than a join waits for an answer.
  const busy = await Promise.all(
    puppets.slice(0, 2).map((puppet) => computeThere(puppet, 700)),
  );
  assertEquals(await joinThere(puppets[2], name), base);
  await Promise.all(busy.map(({ over }) => over));
  await Promise.all(puppets.map(leaveThere));
});

Deno.test({
  name: "the death of who made it changes nothing for those who come later",
  fn: async () => {
    using puppets = await threads(2);
    const name = newName();
    const base = await joinThere(puppets[0], name);
    const pool = await SharedBlockPool.join(name, OPTIONS);
    assertEquals(baseOf(pool), base);
    puppets[0].kill();
    assertEquals(await joinThere(puppets[1], name), base);
    assertEquals(baseOf(pool), base);
    await leaveThere(puppets[1]);
    await pool.close();
    gone(pool);
  },
});

Deno.test({
  name: "a pool whose members are all dead is replaced by another",
  ignore: !provesDeath,
  fn: async () => {
    using puppets = await threads(3);
    const name = newName();
    const numbers = await Promise.all(
      puppets.map((puppet) => joinThere(puppet, name)),
    );
    assertEquals(new Set(numbers).size, 1);
    for (const puppet of puppets) puppet.kill();
    // Another one, be it at the address that the first has given back.
    const pool = await SharedBlockPool.join(name, OPTIONS);
    assertEquals(pool.workerId, 1);
    assertEquals(pool.stats().attachedWorkers, 1);
    await pool.close();
  },
});

Deno.test("a name is free again when all have left, and when the pool is closed", async () => {
  using puppets = await threads(1);
  const name = newName();
  for (let round = 0; round < 5; round++) {
    // At once after the last one: Deno then makes a channel that hears nothing.
    const pool = await SharedBlockPool.join(name, OPTIONS);
    assertEquals(pool.stats().attachedWorkers, 1, `round ${round}`);
    assertEquals(await joinThere(puppets[0], name), baseOf(pool));
    assertEquals(pool.stats().attachedWorkers, 2);
    await leaveThere(puppets[0]);
    pool.leave();
    gone(pool);
  }
  const first = await SharedBlockPool.join(name, OPTIONS);
  await joinThere(puppets[0], name);
  const block = first.acquireSync();
  const closed = first.close();
  // Closing, with a block out and both still there: a join now must not wait for it.
  const second = await SharedBlockPool.join(name, OPTIONS);
  assertNotEquals(baseOf(second), baseOf(first));
  assertEquals(second.stats().attachedWorkers, 1);
  block.release();
  await closed;
  gone(first);
  await second.close();
});

Deno.test("two members of one isolate are two, and either answers", async () => {
  using puppets = await threads(1);
  const name = newName();
  const first = await SharedBlockPool.join(name, OPTIONS);
  const second = await SharedBlockPool.join(name, OPTIONS);
  assertEquals(baseOf(second), baseOf(first));
  assertNotEquals(second.workerId, first.workerId);
  first.leave();
  first.leave();
  assertEquals(await joinThere(puppets[0], name), baseOf(second));
  await leaveThere(puppets[0]);
  await second.close();
});

Deno.test("a pool that could not be made is nobody's, and the next one makes it", async () => {
  const name = newName();
  using puppets = await threads(1);
  {
    using os = new FailingBackend();
    os.fails = (call) => call === "map";
    const join = SharedBlockPool.join(name, OPTIONS);
    await rejected("out-of-memory", join);
    assertEquals(os.mapped, 0);
  }
  await joinThere(puppets[0], name);
  const pool = await SharedBlockPool.join(name, OPTIONS);
  assertEquals(pool.stats().attachedWorkers, 2);
  await pool.close();
});

Deno.test("wrong names and options are refused, other options than the pool's too", async () => {
  const name = newName();
  for (const wrong of ["", 7, undefined, null, {}]) {
    const error = await assertRejects(
      () => SharedBlockPool.join(wrong as string, OPTIONS),
      TypeError,
    );
    assertStringIncludes(error.message, "name must be a string");
  }
  await assertRejects(
    () => SharedBlockPool.join(name, { ...OPTIONS, blockSize: 0 }),
    RangeError,
    "blockSize",
  );
  for (const wrong of [undefined, null, 5, "x", [OPTIONS]]) {
    await assertRejects(
      () => SharedBlockPool.join(name, wrong as never),
      TypeError,
      "options must be an object, got ",
    );
  }
  await assertRejects(
    () => SharedBlockPool.join(name, { ...OPTIONS, name: null as never }),
    TypeError,
    "name must be a string, got null",
  );
  const pool = await SharedBlockPool.join(name, OPTIONS);
  const error = await assertRejects(
    () => SharedBlockPool.join(name, { ...OPTIONS, maxBlocks: 5 }),
    RangeError,
  );
  assertStringIncludes(error.message, "maxBlocks must be 4");
  assertStringIncludes(error.message, "got 5");
  // A thread that was refused has not joined, and keeps no other out.
  assertEquals(pool.stats().attachedWorkers, 1);
  pool.leave();
  const other = await SharedBlockPool.join(name, { ...OPTIONS, maxBlocks: 5 });
  await other.close();
});

Deno.test("a pool whose members never answer is a timeout, and nothing is made", async () => {
  const name = newName();
  // On the registry, and deaf.
  const entry = openBoard().enter(keyOf(name), 4711);
  try {
    using time = new FakeTime();
    // Patience counts what each try took, by the monotonic clock: a slow machine has had less of it.
    using _ = monotonic(time);
    let isOver = false;
    const join = rejected("timeout", SharedBlockPool.join(name, OPTIONS))
      .finally(() => isOver = true);
    let waited = 0;
    while (!isOver) {
      await time.tickAsync(20);
      waited += 20;
      // Web Locks and messages take turns of the real loop.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { message } = await join;
    assertStringIncludes(message, name);
    assert(waited >= 10_000, `${waited} ms`);
  } finally {
    entry.leave();
  }
  const pool = await SharedBlockPool.join(name, OPTIONS);
  assertEquals(pool.stats().attachedWorkers, 1);
  await pool.close();
});

Deno.test("one who could not hear for longer than that has not asked in vain", async () => {
  using puppets = await threads(1);
  const name = newName();
  const base = await joinThere(puppets[0], name);
  using time = new FakeTime();
  using _ = monotonic(time);
  const joining = SharedBlockPool.join(name, OPTIONS);
  let isOver = false;
  void joining.finally(() => isOver = true);
  for (let turn = 0; turn < 4; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    // At a stroke, as after a computation: the answers wait behind the timer.
    time.tick(11_000);
  }
  while (!isOver) {
    await time.tickAsync(20);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const pool = await joining;
  assertEquals(baseOf(pool), base);
  assertEquals(pool.stats().attachedWorkers, 2);
  await leaveThere(puppets[0]);
  await pool.close();
});

/** Another listener on the channel of a name. */
class Stranger implements Disposable {
  /** What came. */
  readonly heard: { ask?: true; handle?: SharedPoolHandle }[] = [];
  readonly #channel: BroadcastChannel;

  private constructor(name: string, onAsk: () => void) {
    const { hash, again } = keyOf(name);
    this.#channel = new BroadcastChannel(`smriti:${Deno.pid}:${hash}:${again}`);
    this.#channel.onmessage = ({ data }) => {
      if (data !== null) this.heard.push(data);
      if (data?.ask === true) onAsk();
    };
  }

  static async come(name: string, onAsk = () => {}): Promise<Stranger> {
    // Or Deno, which has just closed the channels of the last test, makes a deaf one.
    await new Promise((resolve) => setTimeout(resolve, 20));
    return new Stranger(name, onAsk);
  }

  say(message: unknown): void {
    this.#channel.postMessage(message);
  }

  [Symbol.dispose](): void {
    this.#channel.close();
  }
}

Deno.test("whoever was refused takes no attachment, whatever he hears after that", async () => {
  using puppets = await threads(1);
  const [puppet] = puppets;
  const name = newName();
  await joinThere(puppet, name);
  const handle = await puppet.run(() => {
    const { joined } = globalThis as unknown as { joined: SharedBlockPool };
    return joined.handle;
  });
  const other = sharedPool({ name, maxBlocks: 5 });
  // So that only the stranger answers; Deno delivers both answers in one turn.
  const { over } = await computeThere(puppet, 200);
  {
    using stranger: Stranger = await Stranger.come(name, () => {
      stranger.say({ handle: other.handle });
      stranger.say({ handle });
    });
    await assertRejects(() => SharedBlockPool.join(name, OPTIONS), RangeError);
  }
  await over;
  const attached = await puppet.run(() => {
    const { joined } = globalThis as unknown as { joined: SharedBlockPool };
    const { attachedWorkers } = joined.stats();
    joined.leave();
    return attachedWorkers;
  });
  assertEquals(attached, 1);
  await other.close();
  const next = await SharedBlockPool.join(name, OPTIONS);
  await next.close();
});

Deno.test("nonsense on the line is nothing, to those who ask and to those who answer", async () => {
  const name = newName();
  const pool = await SharedBlockPool.join(name, OPTIONS);
  const { handle } = pool;
  const nonsense = [
    null,
    7,
    "ask",
    {},
    { ask: 1 },
    { handle: null },
    { handle: {} },
    { handle: { ...handle, control: new SharedArrayBuffer(64) } },
    { handle: { ...handle, range: { ...handle.range, base: 0n } } },
  ];
  using stranger: Stranger = await Stranger.come(name, () => {
    for (const message of nonsense) stranger.say(message);
  });
  for (const message of nonsense) stranger.say(message);
  // Without a pause, it must not pass for the answer that makes others needless.
  const going = setInterval(() => nonsense.forEach(stranger.say, stranger), 3);
  const same = await SharedBlockPool.join(name, OPTIONS)
    .finally(() => clearInterval(going));
  assertEquals(baseOf(same), baseOf(pool));
  same.leave();
  await pool.close();
});

Deno.test("an answer is for all who asked just before", async () => {
  using puppets = await threads(3);
  const name = newName();
  await Promise.all(puppets.map((puppet) => joinThere(puppet, name)));
  using stranger = await Stranger.come(name);
  for (let i = 0; i < 100; i++) stranger.say({ ask: true });
  const answers = () =>
    stranger.heard.filter(({ handle }) => handle !== undefined).length;
  await until(() => answers() > 0);
  const busy = puppets.map((puppet) => puppet.run(() => 0));
  await Promise.all(busy);
  assert(answers() < 100, `${answers()} answers`);
  await Promise.all(puppets.map(leaveThere));
});

Deno.test("any name that is not empty finds its pool", async () => {
  using puppets = await threads(1);
  const odd = ["\0", "\ud800", "a\ud800b", "\ufeff", "😀", "x".repeat(2 ** 20)];
  for (const name of odd) {
    const pool = await SharedBlockPool.join(name, OPTIONS);
    assertEquals(await joinThere(puppets[0], name), baseOf(pool));
    assertEquals(pool.stats().attachedWorkers, 2);
    await leaveThere(puppets[0]);
    await pool.close();
  }
  const [a, b] = await Promise.all(
    ["a\ud800b", "a\ufffdb"].map((name) => SharedBlockPool.join(name, OPTIONS)),
  );
  assertNotEquals(baseOf(a), baseOf(b));
  a.leave();
  b.leave();
});

for (
  const others of [
    ["bytes"],
    ["forbidden", "bytes", "zeroes"],
    ["zeroes", "forbidden", "zeroes", "bytes"],
  ]
) {
  Deno.test({
    name:
      `where others have ${others.length} places of the registry (${others}), ` +
      "nothing of theirs is touched",
    ignore: !canRunDeno,
    fn: async () => {
      const script = new URL("./occupied_addresses.ts", import.meta.url);
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", "--no-check", "--quiet", script.href, ...others],
      }).output();
      const decoder = new TextDecoder();
      assertEquals([code, decoder.decode(stderr)], [0, ""]);
      const said = decoder.decode(stdout).trim().split(/\r?\n/);
      assertEquals(said.length, 3);
      const [isAnyLeft, main, worker] = said;
      assertEquals(main, worker);
      const expected = isAnyLeft === "true" ? /^\d+$/ : /^out-of-memory mapAt$/;
      assertMatch(main, expected);
    },
  });
}

const JOINS = `
import { SharedBlockPool } from ${
  JSON.stringify(import.meta.resolve("../../shared/mod.ts"))
};
const start = performance.now();
await SharedBlockPool.join("again", ${JSON.stringify(OPTIONS)});
console.log("joined after", performance.now() - start < 5000 ? "a while" : "too long");
`;
const RUNTIME = ["--no-check", "-A", "--no-config"];

Deno.test({
  name: "test files that join and never leave are not in each other's way",
  ignore: !canRunDeno,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      for (const file of "abcd") {
        await Deno.writeTextFile(`${folder}/${file}_test.ts`, JOINS);
      }
      for (const how of [[], ["--parallel"]]) {
        const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["test", ...RUNTIME, ...how, folder],
          env: { DENO_JOBS: "2", NO_COLOR: "1" },
        }).output();
        const decoder = new TextDecoder();
        const said = decoder.decode(stdout) + decoder.decode(stderr);
        assertEquals(said.match(/joined after a while/g)?.length, 4, said);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name:
    "a program that is restarted by --watch joins again, also after an error",
  ignore: !canRunDeno || !hasPosixShell,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const script = `${folder}/main.ts`;
    await Deno.writeTextFile(script, `${JOINS}\nthrow new Error("first");`);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--watch", ...RUNTIME, script],
      env: { NO_COLOR: "1" },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    try {
      const errors = readAll(child.stderr);
      const lines = readAll(child.stdout);
      await until(() => errors.text.includes("Process failed"));
      await Deno.writeTextFile(script, JOINS);
      // What is written at once is not always noticed.
      const again = setInterval(
        () => Deno.writeTextFileSync(script, JOINS),
        500,
      );
      const joined = () => lines.text.match(/joined after/g)?.length ?? 0;
      await until(() => joined() > 1).finally(() => clearInterval(again));
      assert(!lines.text.includes("too long"), lines.text);
      child.kill("SIGKILL");
      await Promise.all([errors.over, lines.over]);
    } finally {
      kill(child);
      await child.status;
      await Deno.remove(folder, { recursive: true });
    }
  },
});

/** What a child says, as it comes. */
function readAll(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const said = { text: "", over: Promise.resolve() };
  said.over = stream.pipeThrough(new TextDecoderStream()).pipeTo(
    new WritableStream({
      write(part) {
        said.text += part;
      },
    }),
  );
  return said;
}

Deno.test("threads that join, compute, leave and die at random never have two pools of a name", async () => {
  const seed = seedOfRun();
  console.log(`SMRITI_SEED=${seed}`);
  const rng = new Rng(seed);
  const name = newName();
  const COUNT = 6;
  using puppets = await threads(COUNT);
  // For each: the number of the pool it has, and whether it has been killed.
  const has = new Int32Array(new SharedArrayBuffer(4 * COUNT));
  const dead = new Int32Array(new SharedArrayBuffer(4 * COUNT));
  const lives = puppets.map((puppet, me) =>
    puppet.run(
      async ({ SharedBlockPool }, me, has, dead, name, options, seed) => {
        const chance = () => (seed = Math.imul(seed, 48271) >>> 0) / 2 ** 32;
        const compute = (ms: number) => {
          const end = performance.now() + ms;
          while (performance.now() < end);
        };
        const rest = (ms: number) =>
          new Promise((resolve) => setTimeout(resolve, ms));
        for (let round = 0; round < 25; round++) {
          if (chance() < 0.5) await rest(5 * chance());
          const joining = SharedBlockPool.join(name, options);
          if (chance() < 0.3) compute(40 * chance());
          const pool = await joining;
          const [number] = new Int32Array(pool.handle.control, 4 * 7, 1);
          Atomics.store(has, me, number);
          for (let other = 0; other < has.length; other++) {
            const theirs = Atomics.load(has, other);
            if (theirs === 0 || theirs === number) continue;
            if (Atomics.load(dead, other) === 0) {
              return `${me} has ${number} and ${other} has ${theirs}`;
            }
          }
          if (chance() < 0.3) compute(60 * chance());
          else await rest(10 * chance());
          Atomics.store(has, me, 0);
          pool.leave();
        }
      },
      me,
      has,
      dead,
      name,
      OPTIONS,
      rng.next() | 1,
    )
  );
  if (provesDeath) {
    for (const victim of [0, 1]) {
      await new Promise((resolve) => setTimeout(resolve, rng.below(300)));
      Atomics.store(dead, victim, 1);
      puppets[victim].kill();
    }
  }
  const found = await Promise.all(lives.slice(2));
  assertEquals(found.filter((what) => what !== undefined), []);
  const pool = await SharedBlockPool.join(name, OPTIONS);
  assertEquals(pool.stats().attachedWorkers, 1);
  await pool.close();
});

/** The registry of this process, which the first join has made. */
function openBoard(): ProcessRegistry {
  const registry = ProcessRegistry.find();
  assert(registry !== undefined);
  return registry;
}

/** A registry of its own, and the threads that run: a test says who. */
function play(bytes = PAGE_BYTES) {
  const alive = new Set([1]);
  let current = 1;
  const threads: Threads = {
    current: () => current,
    isAlive: (thread) => alive.has(thread),
  };
  const registry = new ProcessRegistry(new ArrayBuffer(bytes), threads);
  /** Enters as that thread. */
  const enter = (thread: number, name: string, pool: number) => {
    alive.add(thread);
    current = thread;
    return registry.enter(keyOf(name), pool);
  };
  return { alive, registry, enter };
}

Deno.test("who is making a pool stands against everybody of its name, and nobody else", () => {
  const { enter } = play();
  const maker = enter(1, "a", MAKING);
  assert(!maker.isDisputed);
  const stranger = enter(2, "b", MAKING);
  assert(!maker.isDisputed && !stranger.isDisputed);
  const rival = enter(3, "a", MAKING);
  assert(maker.isDisputed && rival.isDisputed);
  rival.leave();
  assert(!maker.isDisputed);
  maker.made(7);
  const member = enter(2, "a", 7);
  assert(!maker.isDisputed && !member.isDisputed);
  const late = enter(3, "a", MAKING);
  assert(late.isDisputed && member.isDisputed);
  late.leave();
  const ghost = enter(3, "a", 6);
  assert(ghost.isDisputed && maker.isDisputed);
});

Deno.test("the entries of dead threads count for nothing, and are used again", () => {
  const { alive, enter } = play(4 * (8 + 2 * 4));
  enter(1, "a", 7);
  enter(2, "a", 7);
  const { message } = refused("exhausted", () => enter(3, "a", 7));
  assertStringIncludes(message, "2 threads");
  alive.delete(1);
  alive.delete(2);
  const maker = enter(3, "a", MAKING);
  assert(!maker.isDisputed);
  const other = enter(4, "a", MAKING);
  assert(maker.isDisputed);
  assert(other.isDisputed);
});

Deno.test("an isolate on the thread of one that has ended takes back what that one said", () => {
  const { registry, enter } = play();
  enter(1, "a", 7);
  enter(1, "b", 8);
  const other = enter(2, "c", 9);
  enter(1, "d", MAKING);
  registry.clear();
  for (const name of "abd") {
    const maker = enter(2, name, MAKING);
    assert(!maker.isDisputed, name);
  }
  assert(enter(1, "c", MAKING).isDisputed);
  assert(other.isDisputed);
});

Deno.test("without numbers of threads an entry counts until it is left", () => {
  const registry = new ProcessRegistry(new ArrayBuffer(PAGE_BYTES), undefined);
  const first = registry.enter(keyOf("a"), 7);
  const second = registry.enter(keyOf("a"), MAKING);
  assert(second.isDisputed);
  first.leave();
  assert(!second.isDisputed);
});

Deno.test("an entry that was left may be another's, and is not left twice", () => {
  const { enter } = play(4 * (8 + 4));
  const first = enter(1, "a", 7);
  first.leave();
  const second = enter(2, "a", 7);
  first.leave();
  assertThrows(() => enter(3, "a", 7));
  second.leave();
  for (let i = 0; i < 10_000; i++) enter(3, `${i}`, i).leave();
});
