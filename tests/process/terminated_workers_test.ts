// Workers that are terminated at any moment: nothing is lost but blocks whose bytes they used, nothing is
// taken from a thread that still runs or from the runtime's blocking pool, and those who wait elsewhere
// wake. SMRITI_KILLS says how many.

import { assert, assertEquals, assertGreater } from "@std/assert";
import type { SharedBlockPool } from "../../shared/mod.ts";
import { numbers, PAGE, sharedPool } from "../shared/pools.ts";
import { Puppet, type Strings } from "../shared/puppet.ts";
import { until } from "../support/misuse.ts";
import { hasPosixShell, provesDeath } from "../support/platform.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

const KILLS = Number(Deno.env.get("SMRITI_KILLS") ?? 200);
/** At once, so that the dead meet each other. */
const AT_ONCE = 4;
// Nothing is reclaimed where nothing proves that a thread has ended.
const ignore = !provesDeath || !hasPosixShell;

/** What a Worker is doing when it is killed. `beat` shows that its thread runs. */
type Role = (
  strings: Strings,
  beat: Int32Array,
  fifo: string,
) => unknown;

/** Blocks whose bytes a Worker of each role uses at once, at most: so many its death may cost. */
const MOST_USED: Record<string, number> = {
  idle: 0,
  holding: 6,
  waiting: 12,
  blocking: 1,
  sending: 1,
  "in a synchronous loop": 1,
  resizing: 0,
  reading: 1,
};

const ROLES: Record<string, Role> = {
  idle: () => {},
  holding: async ({ pool, held }) => {
    for (let i = 0; i < 200; i++) {
      const block = pool.tryAcquire();
      block?.bytes.fill(0xaa);
      if (block !== undefined) held.push(block);
      if (held.length > 4) held.shift()!.release();
      await new Promise((resolve) => setTimeout(resolve, i % 3));
    }
  },
  waiting: async ({ pool, held }) => {
    held.push(pool.acquireSync());
    const many = Array.from({ length: 20 }, () => pool.acquireMany(12));
    for (const wait of many) {
      const blocks = await wait;
      for (const { bytes } of blocks) bytes.fill(0xbb);
      await new Promise((resolve) => setTimeout(resolve, 1));
      blocks[Symbol.dispose]();
    }
  },
  blocking: ({ pool }, beat) => {
    const end = performance.now() + 100;
    while (performance.now() < end) {
      Atomics.add(beat, 0, 1);
      try {
        const block = pool.acquireBlocking({ timeoutMs: 5 });
        block.bytes.fill(0xcc);
        block.release();
      } catch {
        // Out of time.
      }
    }
  },
  sending: async ({ pool }) => {
    for (let i = 0; i < 100; i++) {
      const block = pool.tryAcquire();
      if (block !== undefined) {
        block.bytes.fill(0xdd);
        const ticket = block.detach();
        if (i % 3 > 0) pool.adopt(ticket).release();
      }
      await new Promise((resolve) => setTimeout(resolve, i % 2));
    }
  },
  "in a synchronous loop": ({ pool, held }, beat) => {
    const block = pool.tryAcquire();
    if (block === undefined) return;
    held.push(block);
    const end = performance.now() + 120;
    const view = block.bytes;
    while (performance.now() < end) {
      for (let i = 0; i < 100; i++) {
        view.fill(0xee);
        Atomics.add(beat, 0, 1);
        pool.tryAcquire()?.release();
      }
    }
  },
  resizing: async ({ pool }) => {
    for (let i = 0; i < 100; i++) {
      const blocks = [1, 2, 3, 4, 5].map(() => pool.tryAcquire());
      for (const block of blocks) block?.release();
      pool.trim();
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  },
  reading: async ({ pool }, beat, fifo) => {
    const block = await pool.acquire();
    const file = await Deno.open(fifo, { read: true, write: true });
    await block.lend((bytes) => {
      Atomics.store(beat, 0, 1);
      return file.read(bytes);
    });
  },
};

/** Uses blocks all the while, and looks whether they are its own alone. */
function survive({ pool }: Strings): Promise<string[]> {
  const wrong: string[] = [];
  const loop = async (stamp: number) => {
    while (!(globalThis as { stop?: boolean }).stop) {
      const block = await pool.acquire();
      const at = block.bytes.findIndex((byte) => byte !== 0);
      if (at >= 0) wrong.push(`acquired with ${block.bytes[at]} at ${at}`);
      block.bytes.fill(stamp);
      await new Promise((resolve) => setTimeout(resolve, stamp % 4));
      const other = block.bytes.find((byte) => byte !== stamp);
      if (other !== undefined) wrong.push(`${other} in a block of ${stamp}`);
      block.release();
    }
  };
  return Promise.all([1, 2, 3, 4].map(loop)).then(() => wrong);
}

Deno.test(
  { name: "Workers killed at any moment take nothing along", ignore },
  async () => {
    const seed = seedOfRun();
    const rng = new Rng(seed);
    const pool = sharedPool({
      maxBlocks: 40,
      maxAbandonedBytes: Infinity,
      initialBlocks: 10,
      growStep: 0.01,
      ticketTimeoutMs: 50,
      shrinkIntervalMs: 50,
    });
    const fifo = await Deno.makeTempDir({ prefix: "smriti_" }) + "/fifo";
    await new Deno.Command("mkfifo", { args: [fifo] }).output();
    using first = await Puppet.start(pool);
    using second = await Puppet.start(pool);
    const survivors = [first, second];
    const reports = survivors.map((puppet) => puppet.run(survive));

    const errors: string[] = [];
    const seen: Record<string, number> = {};
    for (let killed = 0; killed < KILLS; killed += AT_ONCE) {
      const names = Array.from(
        { length: AT_ONCE },
        (_, i) => Object.keys(ROLES)[(killed + i) % Object.keys(ROLES).length],
      );
      const doomed = await Promise.all(names.map(() => Puppet.start(pool)));
      const beats = new Int32Array(new SharedArrayBuffer(4 * AT_ONCE));
      const begun = doomed.map((puppet, i) => {
        // Its end is no answer.
        const beat = beats.subarray(i, i + 1);
        const ready = puppet.run(() => {});
        puppet.run(ROLES[names[i]], beat, fifo).catch(({ message }) =>
          errors.push(`${names[i]}: ${message}`)
        );
        seen[names[i]] = (seen[names[i]] ?? 0) + 1;
        return ready;
      });
      // They have all begun; from now on any moment will do.
      await Promise.all(begun);
      for (const [i, puppet] of doomed.entries()) {
        if (names[i] === "reading") await until(() => beats[i] > 0);
        await new Promise((resolve) => setTimeout(resolve, rng.below(12)));
        puppet.kill();
      }
      await until(() => numbers(pool).attachedWorkers === 3);
      // Reclaimed: then none of them runs.
      const before = beats.slice();
      await new Promise((resolve) => setTimeout(resolve, 2));
      assertEquals(beats.slice(), before, `SMRITI_SEED=${seed}`);
    }
    assertEquals(errors, []);
    assertEquals(Object.keys(seen).length, Object.keys(ROLES).length);

    // What the blocking pool still reads for the dead reaches no lease.
    const pipe = await Deno.open(fifo, { read: true, write: true });
    const { abandonedBlocks } = numbers(pool);
    for (let i = 0; i < seen.reading; i++) {
      await pipe.write(new Uint8Array(1000).fill(0x77));
    }
    pipe.close();
    await new Promise((resolve) => setTimeout(resolve, 20));

    for (const puppet of survivors) {
      await puppet.run(() =>
        void ((globalThis as { stop?: boolean }).stop = true)
      );
    }
    for (const report of reports) {
      assertEquals(await report, [], `SMRITI_SEED=${seed}`);
    }
    await until(() => numbers(pool).acquiredBlocks === 0);
    assert(abandonedBlocks >= seen.reading, "what may be read into is lost");
    const most = Object.entries(seen).reduce(
      (sum, [role, count]) => sum + count * MOST_USED[role],
      0,
    );
    assertGreater(most, abandonedBlocks, "only what was used is lost");
    assertEquals(numbers(pool).abandonedBlocks, abandonedBlocks);
    // Each costs an address, and its bytes, which may be read.
    const { capacityBlocks, abandonedBytes } = numbers(pool);
    assertEquals([capacityBlocks, abandonedBytes], [
      40,
      abandonedBlocks * PAGE,
    ]);
    const all = await pool.acquireMany(capacityBlocks);
    for (const { bytes } of all) assert(bytes.every((byte) => byte === 0));
    all[Symbol.dispose]();
    await pool.close();
    assertGreater(numbers(pool).mappedBytes, 0);
    await Deno.remove(fifo.slice(0, -5), { recursive: true });
  },
);

Deno.test(
  { name: "Workers killed with full caches take nothing along", ignore },
  async () => {
    const rng = new Rng(seedOfRun());
    const pool = sharedPool({ maxBlocks: 256, leakDetection: "off" });
    let used = 0;
    for (let killed = 0; killed < KILLS; killed += AT_ONCE) {
      const doomed = await Promise.all(
        Array.from({ length: AT_ONCE }, () => Puppet.start(pool)),
      );
      const isBusy = killed % 8 === 0;
      await Promise.all(doomed.map((puppet) =>
        puppet.run(({ pool }) => {
          for (let round = 0; round < 5; round++) {
            const blocks = Array.from({ length: 12 }, () => pool.acquireSync());
            for (const { bytes } of blocks) bytes.fill(0x55);
            for (const block of blocks) block.release();
          }
        })
      ));
      for (const puppet of doomed) {
        if (isBusy) {
          // Each may be killed while one block is in use.
          used++;
          puppet.run(({ pool }) => {
            const end = performance.now() + 40;
            while (performance.now() < end) {
              const block = pool.tryAcquire();
              if (block === undefined) continue;
              block.bytes[0] = 1;
              block.release();
            }
          });
        }
        await new Promise((resolve) => setTimeout(resolve, rng.below(3)));
        puppet.kill();
        // A theft meets a death.
        if (rng.below(2) === 0) pool.trim();
        const all = Array.from({ length: 240 }, () => pool.tryAcquire());
        for (const block of all) {
          assertEquals(block?.bytes[0] ?? 0, 0);
          block?.release();
        }
      }
      await until(() => numbers(pool).attachedWorkers === 1);
      const { acquiredBlocks, abandonedBlocks } = numbers(pool);
      assertEquals(acquiredBlocks, 0);
      assert(abandonedBlocks <= used, `${abandonedBlocks} of ${used}`);
      const free = await pool.acquireMany(numbers(pool).capacityBlocks);
      for (const { bytes } of free) {
        assertEquals(bytes.findIndex((byte) => byte !== 0), -1);
      }
      free[Symbol.dispose]();
    }
    await pool.close();
  },
);

Deno.test({
  name: "waiters elsewhere wake when the holder of all blocks is killed",
  ignore,
}, async () => {
  const pool = sharedPool();
  using patient = await Puppet.start(pool);
  const rounds = 3;
  for (let round = 0; round < rounds; round++) {
    const holder = await Puppet.start(pool);
    await holder.run(({ pool, held }) => {
      for (let b; (b = pool.tryAcquire()) !== undefined;) held.push(b);
      // One of them may have been given away.
      held[0].bytes.fill(9);
    });
    const waits = [
      pool.acquire().then((block) => block.release()),
      patient.run(async ({ pool }) => {
        const block = await pool.acquire();
        const isClean = block.bytes.every((byte) => byte === 0);
        block.release();
        if (!isClean) throw new Error("not zeroed");
      }),
      patient.run(({ pool }) => {
        pool.acquireBlocking().release();
      }),
    ];
    holder.kill();
    await Promise.all(waits);
  }
  const { acquiredBlocks, abandonedBlocks } = numbers(pool);
  assertEquals([acquiredBlocks, abandonedBlocks], [0, rounds]);
  await pool.close();
});

Deno.test({
  name:
    "a Worker that dies between leases costs nothing, and one that has used a block just that",
  ignore,
}, async () => {
  const pool = sharedPool({ maxBlocks: 8 });
  const lives: Record<string, (strings: Strings) => unknown> = {
    "took none": () => {},
    "used one and gave it back": ({ pool }) => {
      const block = pool.acquireSync();
      block.bytes.fill(1);
      block.release();
    },
    "holds some without having looked": ({ pool, held }) => {
      held.push(pool.acquireSync(), pool.acquireSync());
    },
    "sent one": ({ pool }) => {
      const block = pool.acquireSync();
      block.bytes.fill(1);
      return block.detach();
    },
    "left": ({ pool, held }) => {
      held.push(pool.acquireSync());
      held[0].bytes.fill(1);
      pool.leave();
    },
  };
  for (const [what, live] of Object.entries(lives)) {
    const puppet = await Puppet.start(pool);
    const ticket = await puppet.run(live);
    puppet.kill();
    await until(() => numbers(pool).attachedWorkers === 1);
    if (ticket !== undefined) pool.adopt(ticket as never).release();
    const { acquiredBlocks, abandonedBlocks } = numbers(pool);
    assertEquals([acquiredBlocks, abandonedBlocks], [0, 0], what);
  }
  const ends: Record<string, (strings: Strings) => unknown> = {
    "uses one": ({ pool, held }) => {
      held.push(pool.acquireSync());
      held[0].bytes.fill(1);
    },
    "asked for an address": ({ pool, held }) => {
      held.push(pool.acquireSync());
      void held[0].pointer;
    },
    "lent one": ({ pool, held }) => {
      held.push(pool.acquireSync());
      void held[0].lend(new Promise(() => {}));
    },
    "used one that was sent": ({ pool, held }) => {
      held.push(pool.adopt(pool.acquireSync().detach()));
      held[0].bytes.fill(1);
    },
    "posted one away, and has another view": ({ pool, held }) => {
      held.push(pool.acquireSync());
      const { bytes } = held[0];
      structuredClone(bytes, { transfer: [bytes.buffer] });
      held[0].bytes.fill(1);
    },
  };
  let lost = 0;
  for (const [what, end] of Object.entries(ends)) {
    const puppet = await Puppet.start(pool);
    await puppet.run(end);
    puppet.kill();
    await until(() => numbers(pool).attachedWorkers === 1);
    const { acquiredBlocks, abandonedBlocks } = numbers(pool);
    assertEquals([acquiredBlocks, abandonedBlocks], [0, ++lost], what);
  }
  const all = await pool.acquireMany(8 - lost);
  for (const { bytes } of all) assert(bytes.every((byte) => byte === 0));
  all[Symbol.dispose]();
  await pool.close();
  assertGreater(numbers(pool).mappedBytes, 0);
});

Deno.test({
  name: "nothing is taken from a killed Worker while its thread runs",
  ignore,
}, async () => {
  const pool = sharedPool({ maxBlocks: 2 });
  const puppet = await Puppet.start(pool);
  const beat = new Int32Array(new SharedArrayBuffer(8));
  puppet.run(({ pool }, beat: Int32Array) => {
    const view = pool.acquireSync().bytes;
    while (Atomics.load(beat, 1) === 0) {
      view.fill(5);
      Atomics.add(beat, 0, 1);
    }
  }, beat).catch(() => {});
  await until(() => Atomics.load(beat, 0) > 0);
  puppet.kill();
  for (let i = 0; i < 20; i++) {
    assertEquals(pool.reclaim({}), 0);
    assertEquals(pool.reclaim(puppet.id), 0);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const { attachedWorkers, acquiredBlocks } = numbers(pool);
  assertEquals([attachedWorkers, acquiredBlocks], [2, 1]);
  const before = Atomics.load(beat, 0);
  await until(() => Atomics.load(beat, 0) > before);
  Atomics.store(beat, 1, 1);
  await until(() => numbers(pool).attachedWorkers === 1);
  // A Worker that ran on could have given its view away.
  assertEquals(numbers(pool).abandonedBlocks, 1);
  await pool.close();
});

Deno.test({ name: "the death of the maker ends nothing", ignore }, async () => {
  // The maker is a Worker, and dies before its pool's other members have done anything.
  const pool = sharedPool();
  const maker = await Puppet.start(pool);
  const made = await maker.run(({ SharedBlockPool }) => {
    const inner = SharedBlockPool.create({ blockSize: 64, maxBlocks: 3 });
    (globalThis as { inner?: SharedBlockPool }).inner = inner;
    inner.acquireSync().bytes.fill(1);
    inner.acquireSync();
    return inner.handle;
  });
  const { SharedBlockPool } = await import("../../shared/mod.ts");
  const inner = SharedBlockPool.attach(made);
  maker.kill();
  const both = await inner.acquireMany(2);
  for (const { bytes } of both) assert(bytes.every((byte) => byte === 0));
  both[Symbol.dispose]();
  const { attachedWorkers, abandonedBlocks } = numbers(inner);
  assertEquals([attachedWorkers, abandonedBlocks], [1, 1]);
  await inner.close();
  await pool.close();
});
