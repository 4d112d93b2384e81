/**
 * The report before: its figures, read back from its Markdown, beside those of today.
 */
import type { Spread } from "../measure.ts";
import type { Cell, Table } from "./section.ts";

const cellsOf = (line: string) =>
  line.split("|").slice(1, -1).map((cell) => cell.trim());

/** A figure as `digits` writes it, with or without its spread. */
function figureOf(text: string): Spread | undefined {
  const number = (digits: string) => Number(digits.replaceAll(" ", ""));
  const [, median, min = median, max = median] =
    /^(-?[\d .]+)(?: \((-?[\d .]+)–(-?[\d .]+)\))?$/.exec(text) ?? [];
  if (median === undefined) return undefined;
  return { median: number(median), min: number(min), max: number(max) };
}

/** See the file. */
export class Earlier {
  /** By heading of the table, row and heading of the column. */
  readonly #figures = new Map<string, Spread>();
  readonly #machine: string | undefined;

  /** Of a report's text. */
  constructor(markdown: string) {
    this.#machine = /Machine: ([^;]+);/.exec(markdown)?.[1]
      .replaceAll(/\s+/g, " ");
    let columns: string[] = [];
    for (const line of markdown.split("\n")) {
      if (!line.startsWith("|")) columns = [];
      else if (columns.length === 0) columns = cellsOf(line);
      else {
        const [name, ...cells] = cellsOf(line);
        cells.forEach((cell, at) => {
          const figure = figureOf(cell);
          if (figure === undefined) return;
          this.#figures.set(key(columns[0], name, columns[at + 1]), figure);
        });
      }
    }
  }

  /** Of a report, if there is one. */
  static read(path: URL): Earlier {
    try {
      return new Earlier(Deno.readTextFileSync(path));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return new Earlier("");
    }
  }

  /** One sentence about it. */
  get about(): string {
    return this.#machine === undefined
      ? "There was none."
      : `Its machine: ${this.#machine}.`;
  }

  /** The table with one column more: what has changed. */
  compare({ heading, columns, rows, ...rest }: Table): Table {
    return {
      ...rest,
      heading,
      columns: [...columns, "now / before"],
      rows: rows.map(([name, ...cells]) => {
        const changes = columns.map((column, at) => {
          const was = this.#figures.get(key(heading, name, column));
          return change(cells[at], was, at === 0 ? "" : `${column} `);
        });
        const said = changes.filter((one) => one !== undefined).join("; ");
        return [name, ...cells, said];
      }),
    };
  }
}

const key = (...parts: string[]) => parts.join("\n");

/** The ratio; of all but the first column only if it is no accident. */
function change(
  now: Cell,
  was: Spread | undefined,
  column: string,
): string | undefined {
  if (now === undefined || typeof now === "string" || was === undefined) {
    return undefined;
  }
  const meet = now.min <= was.max && was.min <= now.max;
  if (column !== "" && meet) return undefined;
  if (was.median === 0) return now.median === 0 ? undefined : `${column}was 0`;
  return `${column}${(now.median / was.median).toFixed(2)}`;
}
