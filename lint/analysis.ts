/**
 * One analysis for all rules: a file is walked once, and each rule shows its part of what was found.
 *
 * The walk is an abstract interpretation: function by function, statement by statement, it keeps
 * the value of each variable and the status of each lease, and joins them where control flow meets.
 * What it does not know is not reported.
 */
import { File } from "./file.ts";
import type { Task } from "./file.ts";
import type { Finding, Findings } from "./findings.ts";
import { valueOf } from "./expressions.ts";
import { activate, walkTask } from "./functions.ts";
import { declarePattern } from "./patterns.ts";
import { Scope } from "./scope.ts";
import { block, run } from "./statements.ts";
import { State } from "./state.ts";
import type { FunctionNode } from "./syntax.ts";
import { keyName } from "./syntax.ts";
import { parentOf, Tree } from "./tree.ts";
import type { RuleName } from "./values.ts";
import { leasesIn } from "./values.ts";
import type { Engine } from "./walk.ts";
import { frameOf } from "./walk.ts";

/** A file without any of these words has no blocks in it. */
const OF_INTEREST =
  /\b(acquire\w*|tryAcquire|adopt|adoptMany|Block|BlockArray|readFrames|readBody)\b|[pP]ool\w*\??\.use\(|smriti/;
/** A function without any of these words gets no block but from a variable around it. */
const GETS_BLOCKS =
  /\b(acquire\w*|tryAcquire|adopt|adoptMany|Block|BlockArray|chunks|readFrames|use)\b/;
/** What gives a block, or says that something is one. */
const SOURCE = /\b(acquire\w*|tryAcquire|adopt|adoptMany|Block|BlockArray)\b/g;
/** The name that an import gives to a function that makes views. */
const ALIAS =
  /\b(?:chunks|readFrames|readBody|bufferedReader)\s+as\s+([\w$]+)/g;
/** The name before `:` or `=` in front of that. */
const NAMED = /([\w$]+)[?!]?\s*[:=][^:=;]*$/;

const ENGINE: Engine = {
  evaluate: valueOf,
  execute: run,
  declare: declarePattern,
  activate,
};

/** The result of the last file: Deno runs the rules of a file one after the other. */
let last:
  | { program: Deno.lint.Program; findings: Findings | undefined }
  | undefined;

/** The findings of one rule in a file. */
export function findingsOf(
  rule: RuleName,
  program: Deno.lint.Program,
  source: () => string,
): readonly Finding[] {
  if (last?.program !== program) {
    last = { program, findings: analyse(program, source()) };
  }
  return last.findings?.of(rule) ?? [];
}

function analyse(
  source: Deno.lint.Program,
  text: string,
): Findings | undefined {
  if (!OF_INTEREST.test(text)) return undefined;
  const tree = new Tree(source);
  const { program } = tree;
  const file = new File(program, text);
  const top = new Scope(undefined, program);
  const frame = frameOf(program);
  walk(file, () =>
    block(program, {
      engine: ENGINE,
      file,
      frame,
      scope: top,
      state: new State(),
    }));
  const names = namesOf(file);
  // The list grows while it is walked: functions inside of functions are appended.
  for (const task of file.tasks) {
    if (file.inlined.has(task.node) || !isOfInterest(task, names, file)) {
      continue;
    }
    walk(file, () => walkTask(task, file, ENGINE));
  }
  // A part of the file that was too deep to read may hold the release.
  return tree.isTooDeep ? undefined : file.findings;
}

/** Names that may stand for a block, or for a function that gives views. */
function namesOf(file: File): Set<string> {
  const { text, generators, importsSmriti, tasks } = file;
  const names = new Set(generators);
  if (importsSmriti) names.add("block");
  for (const [, name] of importsSmriti ? text.matchAll(ALIAS) : []) {
    names.add(name!);
  }
  for (const { node } of tasks) {
    const name = nameOfFunction(node);
    if (name !== undefined && GETS_BLOCKS.test(file.textOf(node))) {
      names.add(name);
    }
  }
  for (const { index } of text.matchAll(SOURCE)) {
    const name = text.slice(Math.max(0, index - 80), index).match(NAMED)?.[1];
    if (name !== undefined) names.add(name);
  }
  return names;
}

/** What a function is called, by its own name or by what it is assigned to. */
function nameOfFunction(node: FunctionNode): string | undefined {
  if (node.type !== "ArrowFunctionExpression" && node.id) return node.id.name;
  const parent = parentOf(node);
  switch (parent?.type) {
    case "VariableDeclarator":
      return parent.id?.type === "Identifier" ? parent.id.name : undefined;
    case "MethodDefinition":
    case "Property":
      return keyName(parent.key, parent.computed)?.replace("#", "");
  }
  return undefined;
}

/** Whether a function may have something to do with blocks. */
function isOfInterest(
  { node, made }: Task,
  names: ReadonlySet<string>,
  file: File,
): boolean {
  const text = file.textOf(node);
  if (GETS_BLOCKS.test(text)) return true;
  for (const name of names) if (text.includes(name)) return true;
  for (const place of made?.vars.keys() ?? []) {
    const name = typeof place === "string" ? place : place.name;
    if (leasesIn(made!.vars.get(place)!).length > 0 && text.includes(name)) {
      return true;
    }
  }
  return false;
}

/** Walks within a budget; what was found on a walk that was not finished is not shown. */
function walk(file: File, step: () => void): void {
  file.refill();
  const before = file.findings.save();
  step();
  if (!file.isWithinBudget) file.findings.restore(before);
}
