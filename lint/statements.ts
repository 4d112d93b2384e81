/**
 * Control flow: which statements run after which, and what is known on each way.
 *
 * `return`, `throw`, `break` and `continue` are ways out that wait in the activation until the
 * statement that they lead to picks them up; every block, `using` and `finally` between is left on
 * the way, as at run time.
 */
import { enqueueClass } from "./classes.ts";
import { escape, giveOut } from "./closures.ts";
import { fork, refine } from "./conditions.ts";
import { jump, leaveAll, mergeJumps, takeJumps } from "./jumps.ts";
import { checkFresh } from "./leases.ts";
import { loop } from "./loops.ts";
import { reportNotAwaited } from "./members.ts";
import {
  declareEmpty,
  declarePattern,
  declareUsing,
  kindOf,
} from "./patterns.ts";
import { bear } from "./promises.ts";
import type { State } from "./state.ts";
import { NOT_TRACKED } from "./state.ts";
import type { Node, Statement } from "./syntax.ts";
import { hidesRest, statementsOf } from "./syntax.ts";
import { NOTHING, union, UNKNOWN } from "./values.ts";
import type { At, Try } from "./walk.ts";
import { evaluate, execute } from "./walk.ts";

/** Walks a statement, for `execute` of `walk.ts`. */
export function run(
  node: Statement | Deno.lint.StaticBlock,
  at: At,
  label: string | undefined,
): void {
  switch (node.type) {
    case "BlockStatement":
    case "StaticBlock":
    case "TSModuleDeclaration":
      return block(node, at);
    case "ExpressionStatement":
      return expressionStatement(node, at);
    case "VariableDeclaration":
      return declaration(node, at);
    case "ReturnStatement":
    case "ThrowStatement":
      return leave(node, at);
    case "BreakStatement":
    case "ContinueStatement":
      return jump(
        node.type === "BreakStatement" ? "break" : "continue",
        node.label?.name,
        node,
        UNKNOWN,
        at,
      );
    case "IfStatement":
      return ifStatement(node, at);
    case "ForStatement":
    case "WhileStatement":
    case "DoWhileStatement":
    case "ForOfStatement":
    case "ForInStatement":
      return loop(node, at, label);
    case "SwitchStatement":
      return switchStatement(node, at);
    case "TryStatement":
      return tryStatement(node, at);
    case "LabeledStatement":
      return labeled(node, at);
    case "FunctionDeclaration":
      return functionDeclaration(node, at);
    case "ClassDeclaration":
      return enqueueClass(node, at);
    case "ExportNamedDeclaration":
      if (node.declaration) execute(node.declaration, at);
      return;
    case "ExportDefaultDeclaration":
      return exportDefault(node.declaration, at);
    case "WithStatement":
      return execute(node.body, at);
  }
}

/** Walks statements in a scope of their own. */
export function block(node: Node, at: At): void {
  const statements = statementsOf(node);
  const scope = at.file.scopeOf(node, at.scope, at.frame.node, (scope) => {
    scope.hoist(statements);
  });
  const inside = { ...at, scope };
  const before = at.frame.jumps.length;
  for (const each of statements) {
    if (each?.type === "FunctionDeclaration") functionDeclaration(each, inside);
  }
  for (const each of statements) {
    if (at.state.dead) break;
    execute(each, inside);
  }
  forgetHidden(statements, node.range[1], inside);
  leaveAll(scope, before, inside);
}

/** Behind code that cannot be seen nothing is known. */
function forgetHidden(nodes: readonly Node[], end: number, at: At): void {
  const { state } = at;
  if (state.dead || !hidesRest(nodes, end, at.file.text)) return;
  for (const lease of state.leases.keys()) state.letGo(lease);
  state.pending.clear();
  state.stored.clear();
}

function expressionStatement(
  { expression }: Deno.lint.ExpressionStatement,
  at: At,
): void {
  evaluate(expression, at);
  checkFresh(at);
}

function declaration(node: Deno.lint.VariableDeclaration, at: At): void {
  const isUsing = kindOf(node) === "using";
  for (const each of node.declarations) {
    const { id, init } = each;
    if (!init) {
      const binding = id?.type === "Identifier" && at.scope.lookup(id.name);
      if (binding && id.type === "Identifier" && !node.declare) {
        declareEmpty(binding, id, at);
      } else declarePattern(id, undefined, at);
      continue;
    }
    const value = evaluate(init, at);
    if (isUsing && value.kind === "acquiring") {
      reportNotAwaited(value, init, at);
      // Goes on as it is meant.
      declareUsing(id, bear(value, at), at);
    } else if (isUsing) declareUsing(id, value, at);
    else {
      declarePattern(id, value, at);
      if (value.kind === "block" && value.leases.length === 1) {
        value.leases[0]!.declaration ??= node;
      }
    }
  }
  checkFresh(at);
}

/** `return` and `throw`. */
function leave(
  node: Deno.lint.ReturnStatement | Deno.lint.ThrowStatement,
  at: At,
): void {
  const value = node.argument ? evaluate(node.argument, at) : NOTHING;
  giveOut(value, at);
  checkFresh(at);
  const kind = node.type === "ReturnStatement" ? "return" : "throw";
  jump(kind, undefined, node, value, at);
}

function ifStatement(node: Deno.lint.IfStatement, at: At): void {
  evaluate(node.test, at, true);
  fork(at, (yes) => {
    refine(node.test, true, yes);
    execute(node.consequent, yes);
  }, (no) => {
    refine(node.test, false, no);
    if (node.alternate) execute(node.alternate, no);
  });
}

function switchStatement(node: Deno.lint.SwitchStatement, at: At): void {
  evaluate(node.discriminant, at);
  const statements = node.cases.flatMap(({ consequent }) => consequent);
  const scope = at.file.scopeOf(node, at.scope, at.frame.node, (scope) => {
    scope.hoist(statements);
  });
  const before = at.frame.jumps.length;
  const entry = at.state.clone();
  const falling = at.state.clone();
  falling.dead = true;
  let hasDefault = false;
  for (const each of node.cases) {
    if (each.test) evaluate(each.test, { ...at, scope, state: entry }, true);
    else hasDefault = true;
    falling.join(entry);
    for (const statement of each.consequent) {
      execute(statement, { ...at, scope, state: falling });
    }
    forgetHidden(each.consequent, each.range[1], {
      ...at,
      scope,
      state: falling,
    });
  }
  if (!hasDefault) falling.join(entry);
  at.state.become(falling);
  for (const each of takeJumps(at, before, "break", undefined)) {
    at.state.join(each.state);
  }
  leaveAll(scope, before, { ...at, scope });
}

function labeled(node: Deno.lint.LabeledStatement, at: At): void {
  const { body, label } = node;
  const before = at.frame.jumps.length;
  execute(body, at, label?.name);
  for (const each of at.frame.jumps.slice(before)) {
    if (each.kind !== "break" || each.label !== label?.name) continue;
    at.frame.jumps.splice(at.frame.jumps.indexOf(each), 1);
    at.state.join(each.state);
  }
}

function tryStatement(node: Deno.lint.TryStatement, at: At): void {
  const { frame, state } = at;
  const before = frame.jumps.length;
  const record: Try = { before: state.clone(), seen: new Map() };
  frame.tries.push(record);
  execute(node.block, at);
  frame.tries.pop();
  if (node.handler) catchClause(node.handler, record, before, at);
  if (node.finalizer) finallyBlock(node.finalizer, before, at);
}

function catchClause(
  node: Deno.lint.CatchClause,
  record: Try,
  before: number,
  at: At,
): void {
  const caught = caughtState(record, at.state);
  for (const each of takeJumps(at, before, "throw", undefined)) {
    caught.join(each.state);
  }
  const inside = { ...at, state: caught };
  const scope = at.file.scopeOf(node, at.scope, at.frame.node, (scope) => {
    if (node.param) scope.declare(node.param, "catch", node);
  });
  if (node.body) execute(node.body, { ...inside, scope });
  at.state.join(caught);
}

/**
 * What is known in a `catch`: of what was held before the `try`, as far as it had come wherever
 * something may have thrown; of what was acquired inside, nothing.
 */
function caughtState({ before, seen }: Try, after: State): State {
  const caught = before.clone();
  for (const [lease, status] of seen) {
    const isOpen = status.is === "guarded" &&
      before.status(lease).is === "held";
    caught.leases.set(lease, isOpen ? { ...status, is: "open" } : status);
  }
  for (const place of after.vars.keys()) {
    const value = after.vars.get(place)!;
    const own = caught.vars.get(place);
    if (own === value) continue;
    caught.vars.set(place, own === undefined ? value : union(own, value));
  }
  for (const lease of after.leases.keys()) {
    if (!caught.leases.has(lease)) caught.leases.set(lease, NOT_TRACKED);
  }
  return caught;
}

/** Walks a `finally` on each way that leads into it. */
function finallyBlock(
  node: Deno.lint.BlockStatement,
  before: number,
  at: At,
): void {
  const ways = mergeJumps(at.frame.jumps.splice(before));
  execute(node, at);
  for (const way of ways) {
    const { state } = way;
    execute(node, { ...at, state });
    if (!state.dead) at.frame.jumps.push(way);
  }
}

function functionDeclaration(
  node: Deno.lint.FunctionDeclaration,
  at: At,
): void {
  if (!node.body) return;
  at.file.enqueue({
    node,
    scope: at.scope,
    self: undefined,
    made: undefined,
  });
}

function exportDefault(
  node: Deno.lint.ExportDefaultDeclaration["declaration"],
  at: At,
): void {
  switch (node?.type) {
    case "FunctionDeclaration":
      return functionDeclaration(node, at);
    case "ClassDeclaration":
      return enqueueClass(node, at);
    case undefined:
    case "TSDeclareFunction":
    case "TSEnumDeclaration":
    case "TSInterfaceDeclaration":
    case "TSModuleDeclaration":
    case "TSTypeAliasDeclaration":
    case "VariableDeclaration":
      return;
  }
  escape(evaluate(node, at), at);
}
