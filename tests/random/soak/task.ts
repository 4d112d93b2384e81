// One of the many that use the pools at once: acquires, holds, does real I/O, gives back.

import { type Block, BlockPool, SmritiError } from "@smriti/pool";
import type { Rng } from "../../support/rng.ts";
import type { Home } from "./pools.ts";
import { type Plan, plan } from "./plan.ts";
import type { Score } from "./score.ts";
import { Stamp } from "./stamp.ts";
import { perform, type World } from "./block_operations.ts";

/** Codes that any acquire has to expect here. */
const EXPECTED = ["exhausted", "timeout", "closed", "corrupted"];

/** Works until `isOver` says so. */
export async function work(
  world: World,
  rng: Rng,
  homeAt: (share: number) => Home,
  isOver: () => boolean,
): Promise<void> {
  for (let turn = 0; !isOver(); turn++) {
    const next = plan(rng);
    try {
      await lease(world, homeAt(next.pool), next);
    } catch (error) {
      expect(world.score, error);
    }
    // A task that never has to wait would keep the others from their turn.
    if (turn % 4 === 0) await new Promise((go) => setImmediate(go));
  }
}

/** Counts a refusal; anything else is a surprise. */
function expect(score: Score, error: unknown): void {
  if (error instanceof SmritiError && EXPECTED.includes(error.code)) {
    score.refusal(error.code);
  } else if (error instanceof DOMException && error.name === "AbortError") {
    score.fault("aborted while waiting");
  } else {
    score.surprises.push(error);
  }
}

async function lease(world: World, home: Home, next: Plan): Promise<void> {
  const { pool } = home;
  const controller = new AbortController();
  const { abortMs, way } = next;
  const timer = abortMs === undefined
    ? undefined
    : setTimeout(() => controller.abort(), abortMs);
  const signal = timer === undefined ? undefined : controller.signal;
  try {
    if (way === "use" && pool instanceof BlockPool) {
      const { tag, reserved, timeoutMs } = next;
      return await pool.use(
        (block) => hold(world, home, block, next),
        { tag, reserved, timeoutMs, signal },
      );
    }
    const blocks = await home.acquire(next, signal);
    clearTimeout(timer);
    await Promise.all(blocks.map(async (block, at) => {
      // One of them does the work; the others are there to be held.
      const steps = at === 0 ? next.steps : [];
      await hold(world, home, block, { ...next, steps });
      await end(world, home, block, next.end);
    }));
  } finally {
    clearTimeout(timer);
  }
}

/** The life of one lease but for its end. */
async function hold(
  world: World,
  home: Home,
  block: Block,
  { steps }: Plan,
): Promise<void> {
  const { score } = world;
  const stamp = new Stamp(score);
  score.leases++;
  stamp.expectEmpty(block.bytes);
  stamp.put(block.bytes);
  for (const step of steps) {
    score.steps++;
    await perform(world, home, block, stamp, step);
    if (block.released) return;
    stamp.check(block.bytes);
  }
}

async function end(
  { score }: World,
  home: Home,
  block: Block,
  how: Plan["end"],
): Promise<void> {
  if (block.released) return;
  const kept = block.bytes;
  try {
    if (how === "pool") home.pool.release(block);
    else if (how === "dispose") block[Symbol.dispose]();
    else if (how === "whileLent") {
      const gate = Promise.withResolvers<void>();
      const lent = block.lend(gate.promise);
      block.release();
      // A few others have their turn before the lend settles.
      setTimeout(() => gate.resolve(), 1);
      await lent;
    } else block.release();
  } catch (error) {
    // Strict mode tells the next caller of another one's late write.
    expect(score, error);
  }
  if (home.safety !== "trust" && kept.length > 0) {
    score.surprises.push(new Error(`${how}: a view lives on`));
  }
  if (!block.released) score.surprises.push(new Error(`${how}: not released`));
  if (how !== "twice") return;
  try {
    block.release();
    score.surprises.push(new Error("released twice"));
  } catch (error) {
    const isRefused = error instanceof SmritiError && error.code === "released";
    if (!isRefused) score.surprises.push(error);
  }
}
