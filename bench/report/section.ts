/**
 * What a scenario hands to the report: tables, verdicts, plots. Knows nothing of how it is printed.
 */
import { type Spread, spread } from "../measure.ts";

/** A cell: a number with its spread, words, or nothing. */
export type Cell = Spread | string | undefined;

/** One table. */
export interface Table {
  /** Stands above it, where it stands alone. */
  readonly caption?: string;
  readonly heading: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly [name: string, ...cells: Cell[]])[];
}

/** One figure beside its target. */
export interface Verdict {
  readonly what: string;
  /** Of the rounds; a ratio is taken round by round. */
  readonly figure: Spread;
  readonly atMost?: number;
  readonly atLeast?: number;
  readonly unit?: string;
}

/** A picture. */
export interface Plot {
  /** File name without its folder. */
  readonly file: string;
  /** What there is to see, in words. */
  readonly alt: string;
  readonly svg: string;
}

/** What one scenario came to. */
export interface Section {
  readonly tables: readonly Table[];
  readonly verdicts: readonly Verdict[];
  readonly plots: readonly Plot[];
  /** Sentences that belong under the tables. */
  readonly notes: readonly string[];
  /** Tables of the README and of docs/, by the name of their place. */
  readonly readme?: Readonly<Record<string, Table>>;
}

/** One scenario. */
export interface Scenario {
  /** For `--only`. */
  readonly id: string;
  readonly title: string;
  /** The question, and how it is put. */
  readonly asks: string;
  /** What the figures do not show. */
  readonly hides: string;
  readonly run: (turns: Turns) => Promise<Section>;
}

/** Takes turns: in each round every contestant runs once. */
export class Turns {
  readonly rounds: number;
  readonly #say: (text: string) => void;

  constructor(rounds: number, say: (text: string) => void) {
    this.rounds = rounds;
    this.#say = say;
  }

  /** By contestant, what it came to in each round. */
  async take<T>(
    heading: string,
    contestants: Readonly<Record<string, () => Promise<T>>>,
  ): Promise<Record<string, T[]>> {
    const all: Record<string, T[]> = {};
    const names = Object.keys(contestants);
    for (let round = 1; round <= this.rounds; round++) {
      for (const name of names) {
        this.#say(`${heading}: round ${round} of ${this.rounds}, ${name}`);
        (all[name] ??= []).push(await contestants[name]());
      }
    }
    return all;
  }
}

/** The spread of a value over the rounds. */
export function over<T>(rounds: readonly T[], value: (result: T) => number) {
  return spread(rounds.map(value));
}

/** The spread of a ratio, taken within each round. */
export function ratio<T>(
  of: readonly T[],
  to: readonly T[],
  value: (result: T) => number,
): Spread {
  return spread(of.map((result, round) => value(result) / value(to[round])));
}

/** A row for each contestant; by heading of a column, what stands in it. */
export function tableOf<T>(
  heading: string,
  results: Readonly<Record<string, readonly T[]>>,
  columns: Readonly<Record<string, (result: T) => number>>,
): Table {
  return {
    heading,
    columns: Object.keys(columns),
    rows: Object.entries(results).map(([name, all]) => [
      name,
      ...Object.values(columns).map((value) => over(all, value)),
    ]),
  };
}

/** Whether a figure is on the right side of its target. */
export function isMet({ figure, atMost, atLeast }: Verdict): boolean {
  return figure.median <= (atMost ?? Infinity) &&
    figure.median >= (atLeast ?? -Infinity);
}
