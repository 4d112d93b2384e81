// What the bench report computes by itself: spreads, quantiles, targets, the ideal rules.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { hasPosixShell } from "../support/platform.ts";
import { Child } from "../../bench/child.ts";
import {
  backend,
  frames,
  type Load,
  requests,
  uploads,
} from "../../bench/io/load.ts";
import { servers } from "../../bench/io/report.ts";
import { starter } from "../../bench/io/start.ts";
import { spread } from "../../bench/measure.ts";
import { Earlier } from "../../bench/report/earlier.ts";
import { Histogram } from "../../bench/report/histogram.ts";
import { area, ideal } from "../../bench/report/ideal.ts";
import { digits, tableText, verdictText } from "../../bench/report/markdown.ts";
import {
  isMet,
  ratio,
  type Table,
  tableOf,
  Turns,
} from "../../bench/report/section.ts";

Deno.test("a spread has the middle and the ends; a ratio is taken round by round", () => {
  assertEquals(spread([3, 1, 2]), { median: 2, min: 1, max: 3 });
  const slow = [10, 20, 60].map((ns) => ({ ns }));
  const fast = [1, 10, 20].map((ns) => ({ ns }));
  assertEquals(ratio(slow, fast, ({ ns }) => ns), {
    median: 3,
    min: 2,
    max: 10,
  });
});

Deno.test("a figure is met on its side of the target, and says so", () => {
  const figure = { median: 2, min: 1, max: 9 };
  assert(isMet({ what: "", figure, atMost: 2 }));
  assert(!isMet({ what: "", figure, atMost: 1.9 }));
  assert(isMet({ what: "", figure, atLeast: 2 }));
  assert(!isMet({ what: "", figure, atLeast: 2.1 }));
  assertEquals(
    verdictText({ what: "price", figure, atMost: 1.5, unit: " ns" }),
    "**missed**: price: 2 (1–9) ns, at most 1.50 ns",
  );
  // Nothing measured is nothing met.
  const nothing = { median: NaN, min: NaN, max: NaN };
  assert(!isMet({ what: "", figure: nothing, atMost: 1 }));
});

Deno.test("numbers keep three digits that mean something", () => {
  const texts = [0, 0.0042, 0.5, 12.34, 123.4, 1234567].map(digits);
  assertEquals(texts, ["0", "0.0042", "0.50", "12.3", "123", "1 234 567"]);
});

Deno.test("quantiles of a histogram are right within a bucket", () => {
  const histogram = new Histogram();
  for (let i = 1; i <= 10_000; i++) histogram.add(i / 10);
  for (const share of [0.5, 0.99, 0.999]) {
    const exact = 1000 * share;
    assertAlmostEquals(histogram.quantile(share), exact, 0.05 * exact);
  }
  assertEquals(histogram.max, 1000);
  assertEquals(histogram.quantile(1), 1000);
});

Deno.test("contestants take turns", async () => {
  const ran: string[] = [];
  const run = (name: string) => () => Promise.resolve(ran.push(name));
  const turns = new Turns({ rounds: 2 }, () => {});
  const all = await turns.take("", { a: run("a"), b: run("b") });
  assertEquals(ran, ["a", "b", "a", "b"]);
  assertEquals(all, { a: [1, 3], b: [2, 4] });
});

Deno.test("a contestant that fails is left out with a line, and misses its targets", async () => {
  const said: string[] = [];
  const turns = new Turns({ rounds: 3 }, (line) => said.push(line));
  let runs = 0;
  const fails = () => {
    if (++runs === 2) throw new Error("the server has hung up");
    return Promise.resolve({ ns: 1 });
  };
  const well = () => Promise.resolve({ ns: 2 });
  const all = await turns.take("swap", { fails, well });
  assertEquals(all.fails, []);
  assertEquals(all.well.length, 3);
  assertEquals(runs, 2);
  const line = "swap: fails is left out: the server has hung up";
  assertEquals(turns.failed, [line]);
  assert(said.includes(line));
  const table = tableOf("swap", all, { ns: ({ ns }) => ns });
  assertEquals(table.rows.map(([name]) => name), ["well"]);
  const missed = { what: "", atMost: 9 };
  for (const [of, to] of [["fails", "well"], ["well", "fails"]]) {
    const figure = ratio(all[of], all[to], ({ ns }) => ns);
    assert(!isMet({ ...missed, figure }));
  }
});

Deno.test("a report that is late runs each contestant once, and none when time is up", async () => {
  const run = { a: () => Promise.resolve(1) };
  const late = new Turns({ rounds: 5, lateMs: 0 }, () => {});
  assertEquals(await late.take("swap", run), { a: [1] });
  assertEquals(late.failed, ["swap: time is short, rounds: 1"]);
  const over = new Turns({ rounds: 5, endMs: 0 }, () => {});
  assertEquals(await over.take("swap", run), { a: [] });
  assertEquals(over.failed, ["swap: a is left out: time is up"]);
});

Deno.test("every scenario of the servers has its tables, measured or not", {
  ignore: !hasPosixShell,
}, async () => {
  const late = { rounds: 1, share: 1, only: "", lateMs: 0, endMs: 0 };
  const { tables, readme } = await servers.run(new Turns(late, () => {}));
  assert(tables.length > 10, `${tables.length}`);
  const { tuned } = readme!;
  assert(tuned.rows.length > 1 && tuned.rows.at(-1)![0] === "`readBody`");
  assertEquals(new Set(tuned.rows.flatMap((row) => row.slice(1))).size, 1);
});

Deno.test("a report says what has changed since the one before", () => {
  const table = (...figures: [number, number, number][]): Table => ({
    heading: "ns",
    columns: figures.map((_, at) => `size ${at}`),
    rows: [[
      "list",
      ...figures.map(([median, min, max]) => ({ median, min, max })),
    ]],
  });
  const earlier = new Earlier(
    `Machine: 2\ncores; load\n\n${
      tableText(table([1000, 900, 1200], [5.25, 5.25, 5.25], [4, 3, 5]))
    }\n`,
  );
  assertEquals(earlier.about, "Its machine: 2 cores.");
  const today = table([1500, 1100, 1700], [5.25, 5.25, 5.25], [8, 6, 9]);
  const { columns, rows } = earlier.compare(today);
  assertEquals(columns.at(-1), "now / before");
  // The first always, others if the rounds do not overlap.
  assertEquals(rows[0].at(-1), "1.50; size 2 2.00");
  assertEquals(new Earlier("").compare(today).rows[0].at(-1), "");
});

Deno.test("a bare loop and the servers of other runtimes answer as ours do", {
  // They are looked for, and their library is built, as on POSIX systems.
  ignore: !hasPosixShell,
}, async (t) => {
  using start = await starter();
  const size = 70_000;
  const kinds: Record<string, [Load, string[], number]> = {
    uploads: [uploads, ["readBody", "bare BYOB loop"], size],
    frames: [frames, ["readFrames", "bare loop"], 30_000],
    proxy: [requests(true), ["copy", "bare loop"], size],
  };
  for (const [kind, [load, ours, bytes]] of Object.entries(kinds)) {
    for (const name of [...ours, ...start.runtimes(kind)]) {
      await t.step(`${kind}, ${name}`, async () => {
        using target = backend();
        const port = String(target.addr.port);
        await using child = new Child<{ port: number }>(
          start.program(kind, name, port),
        );
        await load((await child.ready()).port, bytes, 12, 3);
        const { cpuMicros, peakBytes } = await child.cost();
        assert(cpuMicros > 0 && peakBytes > 1e6);
        await child.stop();
      });
    }
  }
});

Deno.test("the ideal rules grow at four fifths, shrink by a tenth an interval, and stop at a fifth", () => {
  const ticks = Array.from({ length: 200 }, (_, at) => ({
    ms: at * 10,
    used: at === 10 ? 79 : 0,
    committed: 0,
  }));
  const committed = ideal(ticks, 100, 100);
  assertEquals(committed.slice(0, 10), new Array(10).fill(20));
  // 79 of 99 would be four fifths; a tenth of 100 is added at a time.
  assertEquals(committed[10], 100);
  // Idle from the next tick on; a whole interval has passed at 300 ms.
  assertEquals(committed.slice(11, 30), new Array(19).fill(100));
  assertEquals(committed.slice(30, 60).filter((_, at) => at % 10 === 0), [
    90,
    81,
    72,
  ]);
  assertEquals(committed.at(-1), 20);
  assertEquals(area(ticks, committed.map(() => 2)), 2 * 199 * 10);
});
