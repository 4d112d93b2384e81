/**
 * Scenario: many who wait for few blocks. Run as a program, this file measures one contestant:
 * `hand` NAME or `cancel` WAITERS.
 */
import { BlockPool } from "@smriti/pool";
import { PEERS } from "../awaited.ts";
import { spread, stopwatch } from "../measure.ts";
import { inChild, report } from "../child.ts";
import {
  over,
  type Scenario,
  type Section,
  tableOf,
  type Turns,
} from "./section.ts";

const BLOCKS = 100;
/** Tasks that share them. */
const TASKS = 10_000;
/** So often each task takes one. */
const TURNS = 5;
/** No work is done on a block, so small ones do. */
const SIZE = 4096;
const OURS = "smriti";
const CROWDS = [1000, 10_000, 100_000];
/** So many of a crowd are cancelled. */
const CANCELLED = 1000;

/** What the crowd came to. */
interface Hand {
  readonly handOffsPerSecond: number;
  /** Bytes of JavaScript heap for each that waits, its promise included. */
  readonly bytesPerWaiter: number;
  /** Most places by which one that asked was served early or late. */
  readonly outOfOrder: number;
}

/** Microseconds to cancel one in the middle. */
interface Cancel {
  readonly micros: number;
}

/** A pool that makes callers wait; what it gives gives back. */
type Take = () => Promise<() => void>;

function contestant(name: string): Take {
  if (name === OURS) {
    const pool = new BlockPool({ blockSize: SIZE, maxBlocks: BLOCKS });
    return async () => {
      const block = await pool.acquire();
      return () => block.release();
    };
  }
  const pool = PEERS[name](SIZE, BLOCKS, 2 * TASKS);
  return async () => {
    const bytes = await pool.acquire();
    return () => void pool.release(bytes);
  };
}

function collect(): void {
  (globalThis as unknown as { gc(): void }).gc();
}

function heapUsed(): number {
  collect();
  return Deno.memoryUsage().heapUsed;
}

async function hand(name: string): Promise<Hand> {
  const take = contestant(name);
  const first = await Promise.all(Array.from({ length: BLOCKS }, take));
  // All are out: an acquire has to wait now.
  const before = heapUsed();
  let served = 0;
  let outOfOrder = 0;
  const crowd = Array.from(
    { length: TASKS },
    (_, asked) =>
      take().then((giveBack) => {
        outOfOrder = Math.max(outOfOrder, Math.abs(asked - served++));
        giveBack();
      }),
  );
  // What the machine does by itself to a promise that is waited for has to be there.
  await Promise.resolve();
  const bytesPerWaiter = (heapUsed() - before) / TASKS;
  for (const giveBack of first) giveBack();
  await Promise.all(crowd);

  const task = async () => {
    for (let turn = 0; turn < TURNS; turn++) {
      const giveBack = await take();
      await Promise.resolve();
      giveBack();
    }
  };
  const elapsed = stopwatch();
  await Promise.all(Array.from({ length: TASKS }, task));
  const handOffsPerSecond = 1000 * TASKS * TURNS / elapsed();
  return { handOffsPerSecond, bytesPerWaiter, outOfOrder };
}

async function cancel(maxWaiting: number): Promise<Cancel> {
  const pool = new BlockPool({ blockSize: SIZE, maxBlocks: 1, maxWaiting });
  const block = pool.acquireSync();
  const controllers = Array.from(
    { length: maxWaiting },
    () => new AbortController(),
  );
  let aborted = 0;
  const crowd = controllers.map(({ signal }) =>
    pool.acquire({ signal }).then((block) => block.release(), () => aborted++)
  );
  const middle = (maxWaiting - CANCELLED) >> 1;
  const reason = new Error("no longer wanted");
  collect();
  const elapsed = stopwatch();
  for (let i = 0; i < CANCELLED; i++) controllers[middle + i].abort(reason);
  const micros = 1000 * elapsed() / CANCELLED;
  block.release();
  await Promise.all(crowd);
  if (aborted !== CANCELLED) throw new Error(`${aborted} were cancelled`);
  await pool.close();
  return { micros };
}

if (import.meta.main) {
  const [what, which] = Deno.args;
  report(what === "hand" ? await hand(which) : await cancel(Number(which)));
  Deno.exit(0);
}

async function run(turns: Turns): Promise<Section> {
  const told = <T>(what: string, which: string | number) =>
    inChild<T>(import.meta.url, [what, which], { v8Flags: ["--expose-gc"] });
  const hands = await turns.take<Hand>(
    "waiting",
    Object.fromEntries(
      [OURS, ...Object.keys(PEERS)].map((name) => [
        name,
        () => told("hand", name),
      ]),
    ),
  );
  const cancels = await turns.take<Cancel>(
    "cancelling",
    Object.fromEntries(
      CROWDS.map((count) => [`${count} wait`, () => told("cancel", count)]),
    ),
  );
  const micros = Object.values(cancels).map((all) =>
    over(all, (one) => one.micros)
  );
  return {
    tables: [
      tableOf(`${TASKS} tasks, ${BLOCKS} blocks`, hands, {
        "hand-offs/s": (one) => one.handOffsPerSecond,
        "bytes a waiter": (one) => one.bytesPerWaiter,
        "places out of order": (one) => one.outOfOrder,
      }),
      {
        heading: "µs to cancel one in the middle by its signal",
        columns: Object.keys(cancels),
        rows: [[OURS, ...micros]],
      },
    ],
    verdicts: [
      {
        what: "places by which a waiter was served out of order",
        figure: over(hands[OURS], (one) => one.outOfOrder),
        atMost: 0,
      },
      {
        what: "cancelling one of 100 000 in cancelling one of 1 000",
        figure: spread([micros[2].median / micros[0].median]),
        // Constant work, and ten thousand times the memory to find it in.
        atMost: 3,
        unit: " ×",
      },
    ],
    plots: [],
    notes: [
      "The bytes of a waiter include its two promises and the closure that takes the block, which are " +
      "the same for all.",
    ],
  };
}

/** The scenario. */
export const waiting: Scenario = {
  id: "waiting",
  title: "Waiting",
  asks:
    `${TASKS} tasks share ${BLOCKS} blocks, so nearly all of them wait. How many hand-offs a second, in ` +
    "which order, what does a waiter take of the heap, and what does it cost to give up in the middle " +
    "of the queue?",
  hides: "waits for I/O: here a block is given back in the next microtask.",
  run,
};
