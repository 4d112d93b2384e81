// What the bench report computes by itself: spreads, quantiles, targets, the ideal rules.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { spread } from "../../bench/measure.ts";
import { Histogram } from "../../bench/report/histogram.ts";
import { area, ideal } from "../../bench/report/ideal.ts";
import { digits, verdictText } from "../../bench/report/markdown.ts";
import { isMet, ratio, Turns } from "../../bench/report/section.ts";

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
  const turns = new Turns(2, () => {});
  const all = await turns.take("", { a: run("a"), b: run("b") });
  assertEquals(ran, ["a", "b", "a", "b"]);
  assertEquals(all, { a: [1, 3], b: [2, 4] });
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
