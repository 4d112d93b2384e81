// What others do between any two accesses that a Worker makes to the words that all share, plain ones
// included: no block gets two owners, none is lost, no reserve is touched, and all can be given back.

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Block } from "@smriti/pool";
import { SharedBlockPool } from "../shared/mod.ts";
import { HEADER, isHeldBy, UNMAPPED } from "../shared/control.ts";
import { ACTS } from "./shared/acts.ts";
import { numbers } from "./shared/pools.ts";
import { Stage } from "./shared/stage.ts";
import { stepwise } from "./shared/steps.ts";
import { provesDeath } from "./support/platform.ts";

/** What others do in between. Each leaves the stage as lawful as it found it. */
const OTHERS: Record<string, (stage: Stage) => void> = {
  "ask for the numbers": ({ pool }) => void numbers(pool),
  "acquire": (stage) => stage.take(),
  "release": (stage) => stage.give(),
  "acquire and release": ({ pool }) => pool.tryAcquire()?.release(),
  "acquire and release of the reserve": ({ pool }) => {
    for (let i = 0; i < 3; i++) pool.tryAcquire({ reserved: true })?.release();
  },
  "acquire all and release": ({ pool }) => {
    const all: Block[] = [];
    for (let b; (b = pool.tryAcquire()) !== undefined;) all.push(b);
    for (const block of all.reverse()) block.release();
  },
  "acquire twice and release the first": (stage) => {
    const first = stage.pool.tryAcquire();
    stage.take();
    first?.release();
  },
  "trim": ({ pool }) => void pool.trim(),
  "trim and grow": (stage) => {
    stage.pool.trim();
    for (let i = 0; i < 4; i++) stage.take();
  },
  "send and receive": ({ pool }) => {
    const block = pool.tryAcquire();
    if (block !== undefined) pool.adopt(block.detach()).release();
  },
  "adopt": ({ pool, tickets, ours }) => {
    for (const ticket of tickets) {
      try {
        ours.push(pool.adopt(ticket));
      } catch (error) {
        if ((error as { code?: string }).code !== "foreign-block") throw error;
      }
    }
  },
  "come and go": ({ pool }) => {
    const seat = SharedBlockPool.attach(pool.handle);
    seat.tryAcquire()?.bytes.fill(1);
    seat.leave();
  },
  "look after the pool": (stage) => {
    const { keepHouse } = stage.neighbour();
    keepHouse();
    keepHouse();
  },
  "die, and be found dead": (stage) => {
    if (!provesDeath) return;
    stage.third((seat) => {
      seat.tryAcquire();
      stage.pool.tryAcquire()?.detach();
    });
    stage.pool.reclaim({});
  },
};

for (const [name, { options, before, act }] of Object.entries(ACTS)) {
  for (const late of [false, true]) {
    const how = late ? `${name} that writes late` : name;
    Deno.test({
      name: `whatever others do at any access of ${how}, all is in order`,
      ignore: name.startsWith("reclaim") && !provesDeath,
      sanitizeResources: false,
      sanitizeOps: false,
      fn: async () => {
        using _time = new FakeTime();
        for (const [other, between] of Object.entries(OTHERS)) {
          for (let step = 0, goesOn = true; goesOn; step++) {
            const stage = new Stage(options);
            if (act !== ACTS.attach.act) stage.sit();
            stage.take();
            stage.actor.as(() => before?.(stage));
            const where = `${other} before access ${step} of ${how}`;
            goesOn = false;
            const meet = (at: number) => {
              if (at !== step) return;
              goesOn = true;
              between(stage);
            };
            try {
              stepwise(() => stage.actor.as(() => act(stage)), meet, late);
            } catch (error) {
              const { code } = error as { code?: string };
              // What the others took, the actor may miss.
              if (code !== "exhausted" && code !== "foreign-block") {
                throw new Error(where, { cause: error });
              }
            }
            // A free block that no hint tells of would be lost.
            assertEquals(stage.lost(), [], where);
            assertEquals(stage.miscounted, 0, where);
            const blocks = [...stage.held, ...stage.ours];
            const places = blocks.map(({ pointer }) =>
              Deno.UnsafePointer.value(pointer)
            );
            assertEquals(new Set(places).size, blocks.length, where);
            const { freeBlocks, committedBlocks } = numbers(stage.pool);
            const kept = options?.reservedBlocks ?? 0;
            // What trimming has given back can be had again.
            assert(freeBlocks + 6 - committedBlocks >= kept, `${where}: kept`);
            await stage.end();
            assertEquals(numbers(stage.pool).acquiredBlocks, 0, where);
          }
        }
      },
    });
  }
}

/** What takes blocks, and in which words the pool says that it is closed. */
const TAKES = [
  "acquire",
  "acquire that grows",
  "acquire above a reserve",
  "acquire of what was given back last",
  "acquireMany",
  "adopt",
  "adoptMany",
];

for (const name of TAKES) {
  const { options, before, act } = ACTS[name];
  Deno.test({
    name:
      `a pool closed at any access of ${name} gives nothing any more, and ends`,
    sanitizeResources: false,
    sanitizeOps: false,
    fn: async () => {
      using time = new FakeTime();
      for (let step = 0, goesOn = true; goesOn; step++) {
        const stage = new Stage({ ...options, ticketTimeoutMs: 10_000 });
        const { pool, control } = stage;
        stage.sit();
        stage.actor.as(() => before?.(stage));
        for (const block of stage.ours.splice(0)) block.release();
        const where = `closed before access ${step} of ${name}`;
        goesOn = false;
        let isClosed = false;
        let had = 0;
        const holds = () =>
          stage.owners.filter((word) => isHeldBy(word, stage.id)).length;
        try {
          stepwise(() => stage.actor.as(() => act(stage)), (at) => {
            if (at !== step) return;
            goesOn = true;
            had = holds();
            pool.close().then(() => isClosed = true);
          });
        } catch (error) {
          assertEquals((error as { code?: string }).code, "closed", where);
        }
        // What it held already it may keep, and a batch of tickets goes whole.
        if (goesOn && !name.startsWith("adopt")) {
          assert(holds() <= had, `${where}: ${holds()} instead of ${had}`);
        }
        for (let turn = 0; turn < 5; turn++) await time.tickAsync(20);
        assertEquals(isClosed, goesOn && holds() === 0, where);
        for (const block of stage.held) block.release();
        // What acquireMany() gave, or took and has not given back.
        if (stage.held.length === 0) stage.seat.leave();
        if (!goesOn) pool.close().then(() => isClosed = true);
        for (let turn = 0; turn < 5; turn++) await time.tickAsync(20);
        assert(isClosed, where);
        assertEquals(control.words[HEADER.MAPPING], UNMAPPED, where);
      }
    },
  });
}
