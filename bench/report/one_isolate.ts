/**
 * Scenario: what taking a block and giving it back costs in one isolate. Also writes the
 * two tables of it in docs/numbers.md.
 */
import { AWAITED } from "../awaited.ts";
import { CASES, type Shapes } from "../cases.ts";
import type { Spread } from "../measure.ts";
import { inChild } from "../child.ts";
import { leftOutText } from "../compile.ts";
import { tuned, TUNED_NOTE, tunedName } from "../tuned.ts";
import { compileFloor } from "./floor.ts";
import {
  over,
  ratio,
  type Scenario,
  type Section,
  type Table,
  tableOf,
  type Turns,
  type Verdict,
} from "./section.ts";
import { machine } from "./machine.ts";
import { bars } from "./svg.ts";

const CASE = import.meta.resolve("../cases.ts");
const AWAIT = import.meta.resolve("../awaited.ts");
const SIZES = {
  "256 B": 256,
  "4 KiB": 4096,
  "64 KiB": 65_536,
  "1 MiB": 1_048_576,
};
const ARRAY = "new Uint8Array";
const UNSAFE = "Buffer.allocUnsafe";
const BARE = "bare array free list";
const HANDLES = "bare list of arrays, a handle each";
const LEAN = "smriti trust, not zeroed";
const TRUST = "smriti trust";
const REVOKE = "smriti revoke (default)";
const RESOLVED = "await of a fresh resolved promise";

/** In the tables of docs/numbers.md: beside what programs do without a pool, and what each promise costs. */
const BASICS = [ARRAY, UNSAFE, BARE, "@thi.ng/malloc", LEAN, TRUST, REVOKE];
const LEVELS = [
  "smriti, bytes never used",
  LEAN,
  TRUST,
  "smriti revoke, not zeroed",
  REVOKE,
  "smriti strict",
  `${LEAN}, leakDetection off`,
  `${LEAN}, leakDetection all`,
];

const SHAPES = ["cycle", "held"] as const;

/** By contestant, round by round. */
type Results = Record<string, Shapes[]>;
type Awaits = Record<string, { ns: number }[]>;

async function run(turns: Turns): Promise<Section> {
  using floor = await compileFloor();
  using other = await tuned();
  const bySize: Record<string, Results> = {};
  for (const [label, size] of Object.entries(SIZES)) {
    const contestants: Record<string, () => Promise<Shapes>> = {};
    for (const name of Object.keys(CASES)) {
      contestants[name] = () => inChild(CASE, [name, size]);
    }
    for (const [key, tuning] of Object.entries(other.tunings)) {
      contestants[tunedName(ARRAY, key)] = () =>
        inChild(CASE, [ARRAY, size], tuning);
    }
    for (const [name, program] of Object.entries(floor.programs)) {
      contestants[name] = () => program(size);
    }
    bySize[label] = await turns.take(`one isolate, ${label}`, contestants);
  }
  const awaits: Awaits = await turns.take(
    "one isolate, awaited",
    Object.fromEntries(
      Object.keys(AWAITED).map((name) => [
        name,
        () => inChild<{ ns: number }>(AWAIT, [name]),
      ]),
    ),
  );
  const at64 = bySize["64 KiB"];
  const names = Object.keys(at64);
  const row = (name: string, shape: keyof Shapes): Spread[] =>
    Object.values(bySize).map((all) => over(all[name], (one) => one[shape]));
  const table = (shape: keyof Shapes, heading: string): Table => ({
    heading,
    columns: Object.keys(SIZES),
    rows: names.map((name) => [name, ...row(name, shape)]),
  });
  const caption =
    `\`deno task bench:report --only one-isolate\`: ns, median of ${turns.pace.rounds} rounds with the ` +
    `least and the most. ${machine()}.`;
  const plot = (shape: keyof Shapes, file: string, title: string) => ({
    file,
    alt: title,
    svg: bars(
      title,
      "ns, logarithmic; orange: least to most of the rounds",
      names.filter((name) => !/never|revoke, not|leak/.test(name)).map((
        name,
      ) => ({
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
      tableOf("ns: by `await`, 64 KiB, a block is free", awaits, {
        "take, write, give back": ({ ns }) => ns,
      }),
    ],
    verdicts: verdicts(at64, awaits),
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
      TUNED_NOTE,
      leftOutText([...floor.leftOut, ...other.leftOut]),
    ],
    readme: {
      ratios: {
        caption,
        heading: "blocks of 64 KiB",
        columns: ["take, write a byte, give back", "256 held, swap one"],
        rows: BASICS.map((name) => [
          name,
          ...SHAPES.map((shape) => over(at64[name], (one) => one[shape])),
        ]),
      },
      safety: {
        caption,
        heading: "take a block, write one byte, give it back",
        columns: Object.keys(SIZES),
        rows: LEVELS.map((
          name,
        ) => [name.replace(/^smriti,? /, ""), ...row(name, "cycle")]),
      },
    },
  };
}

function verdicts(at64: Results, awaits: Awaits): Verdict[] {
  const found: Verdict[] = [];
  /** The first is to cost so many of the second. */
  const compare = (
    of: string,
    to: string,
    shape: keyof Shapes,
    limit: { atMost?: number; atLeast?: number },
  ) => {
    if (!(to in at64)) return; // a native one that is not here
    const what = `${of} in ${to}, ${shape}`;
    const figure = ratio(at64[of], at64[to], (one) => one[shape]);
    found.push({ what, figure, unit: " ×", ...limit });
  };
  compare(LEAN, HANDLES, "cycle", { atMost: 2 });
  compare(LEAN, HANDLES, "held", { atMost: 2 });
  compare(UNSAFE, LEAN, "cycle", { atLeast: 200 });
  for (const peer of ["C: mimalloc", "C: jemalloc", "Go: buffered channel"]) {
    compare(LEAN, peer, "cycle", { atMost: 1 });
  }
  compare(TRUST, ARRAY, "cycle", { atMost: 1 / 4 });
  compare(REVOKE, ARRAY, "cycle", { atMost: 1 / 4 });
  compare(UNSAFE, LEAN, "held", { atLeast: 120 });
  compare(TRUST, ARRAY, "held", { atMost: 1 / 1.5 });
  compare(REVOKE, ARRAY, "held", { atMost: 1 / 2 });
  for (const peer of [RESOLVED, "generic-pool", "tarn", "lightning-pool"]) {
    found.push({
      what: `await acquire(), ${LEAN}, in ${peer}`,
      figure: ratio(awaits[LEAN], awaits[peer], ({ ns }) => ns),
      atMost: peer === RESOLVED ? 1.3 : 1,
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
    "pool, beside other pools, and beside native allocators, and what does each promise add? Two " +
    "shapes: a cycle on one block, and a swap of a random one of 256 held. Each contestant at each " +
    "size is a process of its own.",
  hides:
    "what the program does with the block. Once all of it is written, memory bandwidth is most " +
    "of the cost (next section). The bare list, `reusify` and `typedarray-pool` check nothing; " +
    "a cycle on one block keeps it in the caches.",
  run,
};
