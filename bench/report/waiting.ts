/**
 * Scenario: many who wait for few blocks.
 */
import { spread } from "../measure.ts";
import { inChild } from "./child.ts";
import { over, type Scenario, type Section, type Turns } from "./section.ts";
import {
  BLOCKS,
  type Cancel,
  type Hand,
  NAMES,
  TASKS,
} from "./waiting_child.ts";

const OURS = "smriti";
const CROWDS = [1000, 10_000, 100_000];

async function run(turns: Turns): Promise<Section> {
  const told = async <T>(what: string, which: string | number) =>
    (await inChild<T>("waiting_child.ts", [what, which], ["--expose-gc"]))
      .result;
  const hands = await turns.take<Hand>(
    "waiting",
    Object.fromEntries(NAMES.map((name) => [name, () => told("hand", name)])),
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
      {
        heading: `${TASKS} tasks, ${BLOCKS} blocks`,
        columns: ["hand-offs/s", "bytes a waiter", "places out of order"],
        rows: NAMES.map((name) => [
          name,
          over(hands[name], (one) => one.handOffsPerSecond),
          over(hands[name], (one) => one.bytesPerWaiter),
          over(hands[name], (one) => one.outOfOrder),
        ]),
      },
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
    `${TASKS} tasks share ${BLOCKS} blocks, so nearly everyone waits. How many hand-offs a second, in ` +
    "which order, what does a waiter take of the heap, and what does it cost to give up in the middle " +
    "of the queue?",
  hides: "waits for I/O: here a block is given back in the next microtask.",
  run,
};
