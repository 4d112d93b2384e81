// What others do between two accesses of an actor, and what must be true of the pool after that.

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { Block } from "@smriti/pool";
import {
  ABANDONED,
  isHeldBy,
  isUnreplaced,
  kindOf,
  WORKER,
} from "../../shared/control.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { provesDeath } from "../support/platform.ts";
import type { Act } from "./operations.ts";
import { numbers } from "./pools.ts";
import { Stage } from "./scenario.ts";
import { stepwise } from "./access_hooks.ts";

/** What others do in between. Each leaves the stage as lawful as it found it. */
const OTHERS: Record<string, (stage: Stage) => void> = {
  "ask for the numbers": ({ pool }) => void numbers(pool),
  "acquire": (stage) => stage.take(),
  "acquire all": ({ pool, ours }) => {
    for (let b; (b = pool.tryAcquire()) !== undefined;) ours.push(b);
  },
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
  "abandon": ({ pool }) => pool.tryAcquire()?.abandon(),
  "come and go": ({ pool }) => {
    const attachment = SharedBlockPool.attach(pool.handle);
    attachment.tryAcquire()?.bytes.fill(1);
    attachment.leave();
  },
  "look after the pool": (stage) => {
    const { keepHouse } = stage.neighbour();
    keepHouse();
    keepHouse();
  },
  "die, and be found dead": (stage) => {
    if (!provesDeath) return;
    stage.third((attachment) => {
      attachment.tryAcquire();
      stage.pool.tryAcquire()?.detach();
    });
    stage.pool.reclaim({});
  },
  "find the dead, and come in their place": (stage) => {
    stage.pool.reclaim({});
    const { attachment } = stage.neighbour();
    const block = attachment.tryAcquire();
    if (block !== undefined) stage.ours.push(block);
  },
};

/** Lets each of the others in before each access of an act; `late`, its plain writes are seen late. */
export async function meet(
  name: string,
  { options, comes, before, act }: Act,
  late: boolean,
): Promise<void> {
  using _time = new FakeTime();
  for (const [other, between] of Object.entries(OTHERS)) {
    for (let step = 0, goesOn = true; goesOn; step++) {
      const stage = new Stage(options);
      if (!comes) stage.sit();
      stage.take();
      stage.actor.as(() => before?.(stage));
      const where = `${other} before access ${step} of ${name}`;
      goesOn = false;
      const interrupt = (at: number) => {
        if (at !== step) return;
        goesOn = true;
        between(stage);
      };
      try {
        stepwise(() => stage.actor.as(() => act(stage)), interrupt, late);
      } catch (error) {
        const { code } = error as { code?: string };
        // What the others took, the actor may miss.
        if (code !== "exhausted" && code !== "foreign-block") {
          throw new Error(where, { cause: error });
        }
      }
      // Promises are told.
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
      check(stage, where);
      const { freeBlocks, committedBlocks, capacityBlocks } = numbers(
        stage.pool,
      );
      const kept = options?.reservedBlocks ?? 0;
      // What trimming has given back can be had again.
      const left = freeBlocks + capacityBlocks - committedBlocks;
      assert(left >= kept, `${where}: kept`);
      await stage.end();
      assertEquals(numbers(stage.pool).acquiredBlocks, 0, where);
    }
  }
}

function check(stage: Stage, where: string): void {
  const { control, ours, others } = stage;
  // A free block that no hint tells of would be lost.
  assertEquals(stage.lost(), [], where);
  assertEquals(stage.miscounted, 0, where);
  // What was given up has been replaced, or counted as lost.
  const waiting = stage.owners.filter((word) =>
    kindOf(word) === ABANDONED && !isUnreplaced(word)
  );
  assertEquals(waiting.length, 0, where);
  // What the actor holds it has handles of, unless it has left and its id is another's.
  if (!others.some(({ workerId }) => workerId === stage.id)) {
    const held = stage.owners.filter((word) => isHeldBy(word, stage.id));
    assertEquals(held.length, stage.held.length, where);
  }
  const places = [...stage.held, ...ours].map(({ pointer }) =>
    Deno.UnsafePointer.value(pointer)
  );
  assertEquals(new Set(places).size, places.length, `${where}: twice`);
  for (const { workerId } of others) {
    const thread = control.words[control.at(workerId, WORKER.THREAD)];
    assert(thread !== 0, `${where}: ${workerId} has lost its attachment`);
  }
}
