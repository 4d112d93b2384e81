// Programs with the lines where a rule must report: how they are written down, and how they are
// run. A file has programs between lines that begin with `---`; `// <-` marks a line that must be
// reported, by the rule the file is named after or by the one that follows the mark.

import plugin from "../../lint/mod.ts";

/** A report: where and by which rule. */
export interface Report {
  readonly line: number;
  readonly rule: string;
}

/** A program, and what must be reported of it. */
export interface Program {
  readonly title: string;
  readonly isBad: boolean;
  readonly fileName: string;
  readonly source: string;
  readonly expected: readonly Report[];
}

const MARK = / *\/\/ <-( [\w-]+)?$/;

/** Reads the programs of a file beside this one. */
export function programsOf(path: string, rule = ""): Program[] {
  const text = Deno.readTextFileSync(new URL(path, import.meta.url));
  return text.split(/^--- /m).slice(1).map((part) => {
    const [head, ...lines] = part.trimEnd().split("\n");
    const [, kind, title, , ext] =
      head.match(/^(bad|good): (.*?)( \((jsx?|tsx)\))?$/) ?? [];
    if (kind === undefined) throw new Error(`${path}: what is "${head}"?`);
    const expected = lines.flatMap((line, at) => {
      const mark = line.match(MARK);
      return mark ? [{ line: at + 1, rule: mark[1]?.trim() ?? rule }] : [];
    });
    return {
      title,
      isBad: kind === "bad",
      fileName: `program.${ext ?? "ts"}`,
      source: lines.map((line) => line.replace(MARK, "")).join("\n") + "\n",
      expected,
    };
  });
}

/** Runs the plugin over a text. */
export function lint(fileName: string, source: string): Deno.lint.Diagnostic[] {
  return Deno.lint.runPlugin(plugin, fileName, source);
}

/** The reports of the plugin on a program. */
export function reportsOf({ fileName, source }: Program): Report[] {
  return lint(fileName, source).map(({ id, range }) => ({
    line: lineOf(source, range[0]),
    rule: id.replace("smriti/", ""),
  }));
}

/** The line of an offset, from 1. */
export function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

/** Reports in an order of their own, each once a line. */
export function sorted(reports: readonly Report[]): string[] {
  return [...new Set(reports.map(({ line, rule }) => `${line} ${rule}`))]
    .sort();
}
