/**
 * Contestants that are measured in turn, and held against targets: what `io/report.ts` and
 * `shared/report.ts` have in common. A figure is the median of the rounds, a ratio that of the
 * rounds' own ratios.
 */
import {
  over,
  ratio,
  type Table,
  tableOf,
  type Turns,
  type Verdict,
} from "./report/section.ts";

/** A bound on a contestant's value, or on its ratio to another's. */
export interface Target<Value extends string> {
  readonly of: string;
  readonly against?: string;
  readonly value: Value;
  readonly atMost: number;
}

/** Most that one contestant may come to, as shares of another's values. */
export function bounds<Value extends string>(
  of: string,
  against: string,
  shares: Readonly<Partial<Record<Value, number>>>,
): Target<Value>[] {
  return Object.entries<number>(shares as Record<Value, number>)
    .map(([value, atMost]) => ({ of, against, value: value as Value, atMost }));
}

/** One question, put to several contestants. */
export interface Contest<Value extends string> {
  readonly name: string;
  readonly contestants: readonly string[];
  /** Runs one of them; `share` of the load. */
  readonly run: (
    contestant: string,
    share: number,
  ) => Promise<Readonly<Record<Value, number>>>;
  readonly targets: readonly Target<Value>[];
}

/** By contestant, round by round. */
export type Results<Value extends string> = Record<
  string,
  Readonly<Record<Value, number>>[]
>;

/** What the contest came to. */
export interface Outcome<Value extends string> {
  readonly results: Results<Value>;
  readonly table: Table;
  readonly verdicts: readonly Verdict[];
}

/** Measures. */
export async function compete<Value extends string>(
  { name, contestants, run, targets }: Contest<Value>,
  turns: Turns,
  /** By heading of a column, the value that stands in it, and in how many units. */
  columns: Readonly<Record<string, readonly [Value, number]>>,
  share = 1,
): Promise<Outcome<Value>> {
  const results = await turns.take(
    name,
    Object.fromEntries(contestants.map((one) => [one, () => run(one, share)])),
  );
  const values = Object.entries(columns).map(([heading, [value, unit]]) =>
    [
      heading,
      (one: Record<Value, number>) => one[value] / unit,
    ] as const
  );
  const verdicts = targets.map(({ of, against, value, atMost }): Verdict => {
    const get = (one: Record<Value, number>) => one[value];
    return against === undefined
      ? {
        what: `${name}: ${of}: ${value}`,
        figure: over(results[of], get),
        atMost,
      }
      : {
        what: `${name}: ${of}: ${value} in those of ${against}`,
        figure: ratio(results[of], results[against], get),
        atMost,
        unit: " ×",
      };
  });
  const table = tableOf(name, results, Object.fromEntries(values));
  return { results, table, verdicts };
}
