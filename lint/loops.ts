/**
 * Loops: walked as they begin and as they go on, with what each kind does before and after a round.
 */
import { refine } from "./conditions.ts";
import { eachOf } from "./containers.ts";
import { mergeJumps, takeJumps } from "./jumps.ts";
import { begin, endOf, keep, leaveScope } from "./leases.ts";
import { asText, reportNotAwaited } from "./members.ts";
import { assign, declarePattern, declareUsing, kindOf } from "./patterns.ts";
import { letOthersRun } from "./promises.ts";
import type { State } from "./state.ts";
import type { Expression } from "./syntax.ts";
import type { Value } from "./values.ts";
import { blocksIn, UNKNOWN } from "./values.ts";
import type { At } from "./walk.ts";
import { evaluate, execute } from "./walk.ts";

/** A loop of any kind. */
export type Loop =
  | Deno.lint.ForStatement
  | Deno.lint.WhileStatement
  | Deno.lint.DoWhileStatement
  | Deno.lint.ForOfStatement
  | Deno.lint.ForInStatement;

/** Walks a loop twice: as it begins, and as it goes on. */
export function loop(node: Loop, at: At, label: string | undefined): void {
  const outer = at.frame.jumps.length;
  const scope = at.file.scopeOf(node, at.scope, at.frame.node, (scope) => {
    if (
      node.type === "ForStatement" && node.init?.type === "VariableDeclaration"
    ) {
      scope.hoist([node.init]);
    } else if (
      (node.type === "ForOfStatement" || node.type === "ForInStatement") &&
      node.left?.type === "VariableDeclaration"
    ) scope.hoist([node.left]);
  });
  const inside = { ...at, scope };
  const head = enterLoop(node, inside);
  at.frame.fresh = [];
  const { state } = at;
  const done = state.clone();
  done.dead = true;
  const isEndless = isEndlessLoop(node);
  for (let round = 0; round < 2 && !state.dead; round++) {
    const before = at.frame.jumps.length;
    const entry = state.clone();
    if (node.type !== "DoWhileStatement") {
      const out = test(node, inside);
      if (!isEndless && (!head.isCertain || round > 0)) done.join(out, true);
    }
    head.begin(inside);
    execute(node.body, inside);
    for (const each of takeJumps(at, before, "continue", label)) {
      state.join(each.state);
    }
    if (!state.dead) head.end(inside);
    if (state.dead) break;
    if (node.type === "ForStatement" && node.update) {
      evaluate(node.update, inside);
    }
    if (node.type === "DoWhileStatement") done.join(test(node, inside), true);
    // The next round would find what this one has found.
    if (state.isAsQuietAs(entry)) break;
  }
  if (!state.dead && !isEndless && node.type !== "DoWhileStatement") {
    done.join(test(node, inside), true);
  }
  for (const each of takeJumps(at, outer, "break", label)) {
    head.end({ ...inside, state: each.state });
    done.join(each.state, true);
  }
  state.become(done);
  const left = at.frame.jumps.slice(outer);
  for (const each of left) {
    head.end({ ...inside, state: each.state });
    each.state.vars.delete(headOf(node, at));
    leaveScope(scope, { ...inside, state: each.state }, each);
  }
  at.frame.jumps.splice(outer, left.length, ...mergeJumps(left));
  state.vars.delete(headOf(node, at));
  leaveScope(scope, inside, undefined);
}

/** The place of what a loop walks over. */
function headOf(node: Loop, at: At): string {
  return `head ${at.file.idOf(node)}`;
}

/** Takes the condition of a loop for true. Returns what is known when it is not. */
function test(node: Loop, at: At): State {
  const hasTest = node.type !== "ForOfStatement" &&
    node.type !== "ForInStatement";
  const condition = hasTest ? node.test : null;
  if (condition) evaluate(condition, at, true);
  const out = at.state.clone();
  if (!condition) return out;
  refine(condition, true, at);
  refine(condition, false, { ...at, state: out });
  return out;
}

function isEndlessLoop(node: Loop): boolean {
  if (node.type === "ForStatement") {
    return !node.test ||
      node.test.type === "Literal" && node.test.raw === "true";
  }
  return node.type === "WhileStatement" && node.test.type === "Literal" &&
    node.test.raw === "true";
}

/** What a loop does before and after each of its rounds. */
interface Head {
  readonly begin: (at: At) => void;
  readonly end: (at: At) => void;
  /** It runs at least once, as far as this analysis cares. */
  readonly isCertain: boolean;
}

const PLAIN: Head = { begin() {}, end() {}, isCertain: false };

function enterLoop(node: Loop, at: At): Head {
  switch (node.type) {
    case "ForStatement":
      if (node.init?.type === "VariableDeclaration") execute(node.init, at);
      else if (node.init) evaluate(node.init, at);
      return PLAIN;
    case "ForInStatement":
      evaluate(node.right, at);
      return {
        ...PLAIN,
        begin: (at) => bindLeft(node.left, UNKNOWN, at),
      };
    case "ForOfStatement": {
      const value = evaluate(node.right, at);
      if (node.await) letOthersRun(at);
      // What the head acquires the loop holds.
      at.state.vars.set(headOf(node, at), value);
      return forOf(node, value, at);
    }
  }
  return PLAIN;
}

function forOf(
  node: Deno.lint.ForOfStatement,
  value: Value,
  at: At,
): Head {
  const { left } = node;
  switch (value.kind) {
    case "chunks": {
      const { lease } = value;
      return {
        isCertain: false,
        begin(at) {
          begin(lease, at);
          keep(lease, at);
          bindLeft(left, { kind: "chunk", lease }, at);
        },
        end(at) {
          if (at.state.status(lease).is === "ended") return;
          endOf(lease, { how: "step", node }, at);
        },
      };
    }
    case "blocks":
    case "list": {
      const each = eachOf(value, node, at);
      const isUsing = left.type === "VariableDeclaration" &&
        kindOf(left) === "using";
      let element: Value = UNKNOWN;
      return {
        isCertain: each.isCertain,
        begin(at) {
          element = each.begin(at);
          bindLeft(left, element, at);
        },
        end(at) {
          for (const lease of isUsing ? blocksIn(element) : []) {
            endOf(lease, { how: "using", node: left }, at);
          }
          each.end(at);
        },
      };
    }
    case "thing": {
      const element: Value = value.type === "listener"
        ? { kind: "thing", type: "conn" }
        : UNKNOWN;
      return { ...PLAIN, begin: (at) => bindLeft(left, element, at) };
    }
    case "block":
      asText(node.right, value, "a loop", at);
      break;
    case "acquiring":
      reportNotAwaited(value, node.right, at);
      break;
  }
  return {
    ...PLAIN,
    begin(at) {
      if (node.await) letOthersRun(at);
      bindLeft(left, UNKNOWN, at);
    },
  };
}

function bindLeft(
  left: Expression | Deno.lint.VariableDeclaration,
  value: Value,
  at: At,
): void {
  if (left?.type !== "VariableDeclaration") {
    if (left) assign(left, value, at);
    return;
  }
  const id = left.declarations[0]?.id;
  if (kindOf(left) === "using") declareUsing(id, value, at);
  else declarePattern(id, value, at);
}
