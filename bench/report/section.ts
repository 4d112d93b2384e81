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

/** How contestants are run. */
export interface Pace {
  /** How often each runs. */
  readonly rounds: number;
  /** Of the load of a server. Default: 1. */
  readonly share?: number;
  /** Contests with this in their name. Default: all. */
  readonly only?: string;
  /** From this moment on, by `performance.now()`, each runs once. Default: never. */
  readonly lateMs?: number;
  /** From this moment on none runs. Default: never. */
  readonly endMs?: number;
}

/** Takes turns: in each round every contestant runs once. */
export class Turns {
  readonly pace: Readonly<Required<Pace>>;
  readonly #say: (text: string) => void;
  readonly #failed: string[] = [];

  constructor(pace: Pace, say: (text: string) => void) {
    this.pace = {
      share: 1,
      only: "",
      lateMs: Infinity,
      endMs: Infinity,
      ...pace,
    };
    this.#say = say;
  }

  /** What was left out because it failed or time was up, and why. */
  get failed(): readonly string[] {
    return this.#failed;
  }

  /** By contestant, what it came to in each round; nothing of one that fails. */
  async take<T>(
    heading: string,
    contestants: Readonly<Record<string, () => Promise<T>>>,
    rounds = this.pace.rounds,
  ): Promise<Record<string, T[]>> {
    const { lateMs, endMs } = this.pace;
    const left = new Map(Object.entries(contestants));
    const all: Record<string, T[]> = {};
    for (const name of left.keys()) all[name] = [];
    for (let round = 1; round <= rounds; round++) {
      if (round > 1 && performance.now() > lateMs) {
        this.#fail(`${heading}: time is short, rounds: ${round - 1}`);
        break;
      }
      for (const [name, run] of left) {
        try {
          if (performance.now() > endMs) throw new Error("time is up");
          this.#say(`${heading}: round ${round} of ${rounds}, ${name}`);
          all[name].push(await run());
        } catch (error) {
          left.delete(name);
          all[name] = [];
          const [why] = (error as Error).message.split("\n");
          this.#fail(`${heading}: ${name} is left out: ${why}`);
        }
      }
    }
    return all;
  }

  #fail(line: string): void {
    this.#failed.push(line);
    this.#say(line);
  }
}

/** The spread of a value over the rounds. */
export function over<T>(rounds: readonly T[], value: (result: T) => number) {
  return spread(rounds.map(value));
}

/** The spread of a ratio, taken within each round that both have. */
export function ratio<T>(
  of: readonly T[],
  to: readonly T[],
  value: (result: T) => number,
): Spread {
  const both = of.slice(0, to.length);
  return spread(both.map((result, round) => value(result) / value(to[round])));
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
    rows: Object.entries(results).filter(([, all]) => all.length > 0).map((
      [name, all],
    ) => [name, ...Object.values(columns).map((value) => over(all, value))]),
  };
}

/** Whether a figure is on the right side of its target. */
export function isMet({ figure, atMost, atLeast }: Verdict): boolean {
  return figure.median <= (atMost ?? Infinity) &&
    figure.median >= (atLeast ?? -Infinity);
}
