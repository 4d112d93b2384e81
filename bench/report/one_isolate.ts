/**
 * Scenario: what taking a block and giving it back costs in one isolate.
 */
import { inChild } from "./child.ts";
import { NAMES as AWAITING } from "./async_child.ts";
import { compileFloor, type Shapes } from "./floor.ts";
import { NAMES } from "./one_isolate_child.ts";
import {
  over,
  ratio,
  type Scenario,
  type Section,
  type Turns,
  type Verdict,
} from "./section.ts";
import { bars } from "./svg.ts";

const SIZES: readonly (readonly [string, number])[] = [
  ["256 B", 256],
  ["4 KiB", 4096],
  ["64 KiB", 65_536],
  ["1 MiB", 1_048_576],
];
const LEAN = "smriti trust, not zeroed";
const REVOKE = "smriti revoke (default)";
const BARE = "bare array free list";
const RESOLVED = "await of a fresh resolved promise";

/** In the order of the report. */
type Results = Record<string, Shapes[]>;

async function run(turns: Turns): Promise<Section> {
  using floor = await compileFloor();
  const bySize: Results[] = [];
  for (const [label, size] of SIZES) {
    const contestants: Record<string, () => Promise<Shapes>> = {};
    for (const name of NAMES) {
      contestants[name] = async () =>
        (await inChild<Shapes>("one_isolate_child.ts", [name, size])).result;
    }
    for (const [name, program] of Object.entries(floor.programs)) {
      contestants[name] = () => program(size);
    }
    bySize.push(await turns.take(`one isolate, ${label}`, contestants));
  }
  const awaited = await turns.take<{ ns: number }>(
    "one isolate, awaited",
    Object.fromEntries(AWAITING.map((name) => [
      name,
      async () =>
        (await inChild<{ ns: number }>("async_child.ts", [name]))
          .result,
    ])),
  );
  const names = Object.keys(bySize[0]);
  const table = (shape: keyof Shapes, heading: string) => ({
    heading,
    columns: SIZES.map(([label]) => label),
    rows: names.map((name): [string, ...ReturnType<typeof over>[]] => [
      name,
      ...bySize.map((results) => over(results[name], (one) => one[shape])),
    ]),
  });
  const at64 = bySize[2];
  const plot = (shape: keyof Shapes, file: string, title: string) => ({
    file,
    alt: title,
    svg: bars(
      title,
      "ns, logarithmic; orange: least to most of the rounds",
      names.map((name) => ({
        name,
        figure: over(at64[name], (one) => one[shape]),
        ours: name.startsWith("smriti"),
      })).toSorted((a, b) => a.figure.median - b.figure.median),
    ),
  });
  return {
    tables: [
      table("cycle", "ns: take one, write a byte, give it back"),
      table("held", "ns: 256 held, give a random one back, take another"),
      {
        heading: "ns: by `await`, 64 KiB, a block is free",
        columns: ["take, write, give back"],
        rows: AWAITING.map((
          name,
        ) => [name, over(awaited[name], ({ ns }) => ns)]),
      },
    ],
    verdicts: verdicts(at64, awaited),
    plots: [
      plot("cycle", "cycle.svg", "64 KiB: take, write a byte, give back"),
      plot("held", "held.svg", "64 KiB: 256 held, swap a random one"),
    ],
    notes: [
      "An acquire has to make a promise of its own, so `await acquire()` is held against an await of " +
      "a fresh one. Awaiting one and the same promise again and again, which no pool can offer, is " +
      "shown beside it.",
      "JavaScript is timed by the clock less the main thread's wait for a processor; C by the " +
      "processor time of its thread; Go by the clock.",
      floor.leftOut.length === 0
        ? "No native contestant was left out."
        : `Left out: ${floor.leftOut.join("; ")}.`,
    ],
  };
}

function verdicts(
  at64: Results,
  awaited: Record<string, { ns: number }[]>,
): Verdict[] {
  const cycle = (one: Shapes) => one.cycle;
  const held = (one: Shapes) => one.held;
  const found: Verdict[] = [];
  const compare = (
    what: string,
    of: string,
    to: string,
    shape: (one: Shapes) => number,
    limit: { atMost?: number; atLeast?: number },
  ) => {
    if (!(to in at64) || !(of in at64)) return;
    const figure = ratio(at64[of], at64[to], shape);
    found.push({ what, figure, unit: " ×", ...limit });
  };
  const dpdk = "C: DPDK rte_mempool, cached";
  compare(`trust, not zeroed, in ${dpdk}`, LEAN, dpdk, cycle, { atMost: 3 });
  compare(`trust, not zeroed, in ${BARE}s`, LEAN, BARE, cycle, { atMost: 4 });
  compare(
    "Buffer.allocUnsafe in trust, not zeroed",
    "Buffer.allocUnsafe",
    LEAN,
    cycle,
    {
      atLeast: 200,
    },
  );
  for (const peer of ["C: mimalloc", "C: jemalloc", "Go: buffered channel"]) {
    compare(`trust, not zeroed, in ${peer}`, LEAN, peer, cycle, { atMost: 1 });
  }
  found.push({
    what: "trust, not zeroed, 256 held, swap",
    figure: over(at64[LEAN], held),
    atMost: 50,
    unit: " ns",
  });
  const array = "new Uint8Array";
  compare(`revoke, zeroed, in ${array}, cycle`, REVOKE, array, cycle, {
    atMost: 1 / 4,
  });
  compare(`revoke, zeroed, in ${array}, 256 held`, REVOKE, array, held, {
    atMost: 1 / 2,
  });
  const ns = (one: { ns: number }) => one.ns;
  found.push({
    what: `await acquire(), trust, in ${RESOLVED}`,
    figure: ratio(awaited[LEAN], awaited[RESOLVED], ns),
    atMost: 1.3,
    unit: " ×",
  });
  for (const peer of ["generic-pool", "tarn", "lightning-pool"]) {
    found.push({
      what: `await acquire(), trust, in ${peer}`,
      figure: ratio(awaited[LEAN], awaited[peer], ns),
      atMost: 1,
      unit: " ×",
    });
  }
  return found;
}

/** The scenario. */
export const oneIsolate: Scenario = {
  id: "one-isolate",
  title: "One isolate",
  asks:
    "What does it cost to take a block and to give it back, beside what programs do without a " +
    "pool, beside other pools, and beside native allocators? Two shapes: a cycle on one block, " +
    "and a swap of a random one of 256 held. Each contestant at each size is a process of its own.",
  hides:
    "what the program does with the block. Once all of it is written, memory bandwidth is most " +
    "of the cost (next section). The bare list, `reusify` and `typedarray-pool` check nothing; " +
    "a cycle on one block keeps it in the caches.",
  run,
};
