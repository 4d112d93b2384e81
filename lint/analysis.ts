/**
 * One analysis for all rules: a file is walked once, and each rule shows its part of what was found.
 *
 * The walk is an abstract interpretation: function by function, statement by statement, it keeps
 * what each variable is and how far each lease is, and never guesses beyond that.
 */
import { File } from "./file.ts";
import type { Finding } from "./findings.ts";
import { walkTask } from "./functions.ts";
import { Scope } from "./scope.ts";
import { block } from "./statements.ts";
import { State } from "./state.ts";
import type { RuleName } from "./values.ts";
import { frameOf } from "./walk.ts";

/** A file without any of these words has no blocks in it. */
const OF_INTEREST =
  /\b(acquire|tryAcquire|acquireSync|acquireMany|acquireBlocking|adopt|adoptMany|Block|BlockArray|chunks|readFrames|readBody)\b|\.use\(/;

const analyses = new WeakMap<Deno.lint.Program, File | undefined>();

/** What one rule has to say of a file. */
export function findingsOf(
  rule: RuleName,
  program: Deno.lint.Program,
  source: () => string,
): readonly Finding[] {
  if (!analyses.has(program)) analyses.set(program, analyse(program, source()));
  return analyses.get(program)?.findings.of(rule) ?? [];
}

function analyse(program: Deno.lint.Program, text: string): File | undefined {
  if (!OF_INTEREST.test(text)) return undefined;
  const file = new File(program, text);
  const top = new Scope(undefined, program);
  const frame = frameOf(program);
  walk(file, () =>
    block(program, {
      file,
      frame,
      scope: top,
      state: new State(),
    }));
  // Functions add those inside of them as they are walked.
  for (const task of file.tasks) {
    if (file.inlined.has(task.node) && task.made !== undefined) continue;
    if (!OF_INTEREST.test(file.textOf(task.node)) && !usesLease(task, file)) continue;
    walk(file, () => walkTask(task, file));
  }
  return file;
}

/** Walks within a budget; what was found on a walk that was not finished is not shown. */
function walk(file: File, step: () => void): void {
  file.refill();
  const before = file.findings.save();
  step();
  if (!file.isWithinBudget) file.findings.restore(before);
}

function usesLease(
  { node, made, self }: File["tasks"][number],
  file: File,
): boolean {
  return made !== undefined && made.leases.size > 0 || self !== undefined ||
    /\b(lend|release|bytes|enqueue)\b/.test(file.textOf(node));
}
