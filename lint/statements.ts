/**
 * Control flow: which statements run after which, and what is known on each way.
 *
 * `return`, `throw`, `break` and `continue` are ways out that wait in the activation until the
 * statement that they lead to picks them up; every block, `using` and `finally` between is left on
 * the way, as at run time.
 */
import { escape } from "./closures.ts";
import { fork, refine } from "./conditions.ts";
import { eachOf } from "./containers.ts";
import { evaluate } from "./expressions.ts";
import {
  begin,
  checkFresh,
  endOf,
  keep,
  leaveScope,
  markUsing,
} from "./leases.ts";
import { bear } from "./promises.ts";
import { assign, declareEmpty, declarePattern, kindOf } from "./patterns.ts";
import type { Scope } from "./scope.ts";
import { State } from "./state.ts";
import { ANYBODY } from "./state.ts";
import type { ClassNode, Expression, Node, Statement } from "./syntax.ts";
import { hidesRest, isFunction, statementsOf } from "./syntax.ts";
import type { Value } from "./values.ts";
import { awaited, NOTHING, union, UNKNOWN } from "./values.ts";
import type { At, Jump, Try } from "./walk.ts";
import { reportNotAwaited } from "./members.ts";

/** Walks a statement. */
export function execute(
  node: Statement | null | undefined,
  at: At,
  label?: string,
): void {
  if (!node || at.state.dead || !at.file.enter()) return;
  run(node, at, label);
  at.file.leave();
}

function run(node: Statement, at: At, label: string | undefined): void {
  switch (node.type) {
    case "BlockStatement":
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
    case "TSModuleDeclaration":
      return block(node, at);
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
        value.leases[0].declaration ??= node;
      }
    }
  }
  checkFresh(at);
}

function declareUsing(id: Node, value: Value, at: At): void {
  markUsing(value);
  declarePattern(id, value, at);
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

/** What is returned belongs to the caller, but for what a `using` ends first. */
export function giveOut(value: Value, at: At): void {
  const of = awaited(value);
  switch (of.kind) {
    case "block":
      for (const lease of of.leases) if (!lease.isUsing) at.state.letGo(lease);
      return;
    case "list":
      for (const each of of.items) giveOut(each, at);
      return;
    case "record":
      for (const each of of.members.values()) giveOut(each, at);
      return;
    case "blocks":
      if (!of.lease.isUsing) at.state.letGo(of.lease);
      return;
    case "function":
      return escape(of, at);
  }
}

function jump(
  kind: Jump["kind"],
  label: string | undefined,
  node: Node,
  value: Value,
  at: At,
): void {
  at.frame.jumps.push({ kind, label, node, value, state: at.state.clone() });
  at.state.dead = true;
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

/** Leaves a scope on its end and on each way out of it. */
function leaveAll(scope: Scope, before: number, at: At): void {
  const { jumps } = at.frame;
  for (let i = before; i < jumps.length; i++) {
    leaveScope(scope, { ...at, state: jumps[i].state }, jumps[i]);
  }
  leaveScope(scope, at, undefined);
}

/** The ways out of one kind that lead to this statement; they are gone from the activation. */
function takeJumps(
  at: At,
  before: number,
  kind: Jump["kind"],
  label: string | undefined,
): Jump[] {
  const taken: Jump[] = [];
  if (at.frame.jumps.length === before) return taken;
  const isMine = (each: Jump) =>
    each.kind === kind && (each.label === undefined || each.label === label);
  const rest = at.frame.jumps.filter((each, i) => {
    if (i < before || !isMine(each)) return true;
    taken.push(each);
    return false;
  });
  at.frame.jumps.splice(0, at.frame.jumps.length, ...rest);
  return taken;
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

type Loop =
  | Deno.lint.ForStatement
  | Deno.lint.WhileStatement
  | Deno.lint.DoWhileStatement
  | Deno.lint.ForOfStatement
  | Deno.lint.ForInStatement;

/** Walks a loop twice: as it begins, and as it goes on. */
function loop(node: Loop, at: At, label: string | undefined): void {
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

/** The same way out, walked twice, is one. */
function mergeJumps(jumps: readonly Jump[]): Jump[] {
  const merged = new Map<string, Jump>();
  for (const each of jumps) {
    const place = `${each.kind} ${each.node.range[0]}`;
    const known = merged.get(place);
    if (known === undefined) merged.set(place, each);
    else {
      known.state.join(each.state, true);
      const value = union(known.value, each.value);
      merged.set(place, { ...known, value });
    }
  }
  return [...merged.values()];
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
      return {
        isCertain: each.isCertain,
        begin: (at) => bindLeft(left, each.begin(at), at),
        end: each.end,
      };
    }
    case "thing": {
      const element: Value = value.type === "listener"
        ? { kind: "thing", type: "conn" }
        : UNKNOWN;
      return { ...PLAIN, begin: (at) => bindLeft(left, element, at) };
    }
    case "view":
      return { ...PLAIN, begin: (at) => bindLeft(left, UNKNOWN, at) };
  }
  return { ...PLAIN, begin: (at) => bindLeft(left, UNKNOWN, at) };
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
    if (!caught.leases.has(lease)) caught.leases.set(lease, ANYBODY);
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

/** Lets the functions of a class be walked, and its fields. */
export function enqueueClass(node: ClassNode, at: At): void {
  for (const member of node.body?.body ?? []) {
    switch (member.type) {
      case "MethodDefinition":
        if (!isFunction(member.value)) break;
        at.file.enqueue({
          node: member.value,
          scope: at.scope,
          self: node,
          made: undefined,
        });
        break;
      case "PropertyDefinition":
      case "AccessorProperty":
        if (member.value && isFunction(member.value)) {
          at.file.enqueue({
            node: member.value,
            scope: at.scope,
            self: node,
            made: undefined,
          });
        } else if (member.value) {
          const aside = { ...at, state: new State() };
          evaluate(member.value, aside);
        }
        break;
      case "StaticBlock":
        block(member, { ...at, state: new State() });
        break;
    }
  }
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
