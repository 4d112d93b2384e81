/**
 * Activations: entering a function, walking its body, and what holds when it is left.
 */
import { giveOut, laterState } from "./closures.ts";
import type { File, Task } from "./file.ts";
import { begin, checkFloating, checkGivenOut, leaveScope } from "./leases.ts";
import { declarePattern } from "./patterns.ts";
import type { Scope } from "./scope.ts";
import { State } from "./state.ts";
import type { FunctionNode, Node } from "./syntax.ts";
import { bare, isFunction } from "./syntax.ts";
import { parentOf } from "./tree.ts";
import type { Operation, Value } from "./values.ts";
import {
  awaited,
  blockOf,
  leasesIn,
  NOTHING,
  operationsOf,
  promiseOf,
  union,
  UNKNOWN,
} from "./values.ts";
import type {
  Activation,
  At,
  Engine,
  Entry,
  Frame,
  FunctionValue,
  Return,
} from "./walk.ts";
import { evaluate, execute, frameOf, settle, setTouch } from "./walk.ts";

/** Walks a function in place, as part of the one that calls it. */
export function activate(
  { node, scope, self }: FunctionValue,
  args: readonly Value[],
  at: At,
  entry: Entry = {},
): Activation {
  const { file, state } = at;
  file.inlined.add(node);
  const isArrow = node.type === "ArrowFunctionExpression";
  const frame = frameOf(node, {
    parent: at.frame,
    self: self ?? (isArrow ? at.frame.self : undefined),
    covers: entry.covers,
    endedBefore: entry.endedBefore,
  });
  if (entry.owns !== undefined) entry.owns.frame = frame;
  const inside: At = {
    engine: at.engine,
    file,
    frame,
    scope: functionScope(node, scope, file),
    state,
  };
  const returns = walkBody(node, args, inside);
  const result = returns.map(({ value }) => value).reduce(union, NOTHING);
  const value = returns.length === 1 ? returns[0]!.value : result;
  handOver(frame, at);
  if (node.generator) return { value: UNKNOWN, frame, returns };
  const own = rehome(value, entry.call, frame, at);
  const operations = node.async ? lateOperations(frame, entry.call, at) : [];
  forgetOwn(frame, own, at);
  if (!node.async || own.kind === "acquiring") {
    return { value: own, frame, returns };
  }
  return {
    value: promiseOf(awaited(own), [...operationsOf(own), ...operations]),
    frame,
    returns,
  };
}

/** Walks a function on its own. */
export function walkTask(
  { node, scope, self, made }: Task,
  file: File,
  engine: Engine,
): void {
  const frame = frameOf(node, { self });
  const state = made === undefined ? new State() : laterState(made);
  const inside: At = {
    engine,
    file,
    frame,
    scope: functionScope(node, scope, file),
    state,
  };
  const returns = walkBody(node, [], inside);
  settle(returns.flatMap(({ value }) => operationsOf(value)), inside);
  checkFloating(inside);
}

/** Walks the parameters and the body of a function; leaves the state as it is afterwards. */
function walkBody(
  node: FunctionNode,
  args: readonly Value[],
  at: At,
): Return[] {
  const { file, frame, state } = at;
  const given = args.length > 0 ? args : file.given.get(node) ?? [];
  const isCalled = args.length > 0 || frame.parent !== undefined;
  node.params.forEach((param, i) => {
    const value = given[i];
    const isOpen = value === undefined || value.kind === "unknown";
    // A type or a name still says what an argument is that is not known.
    if (isOpen) declarePattern(param, undefined, at);
    else declarePattern(param, value, at);
  });
  const { body } = node;
  if (body === null || body === undefined) return [];
  const returns: Return[] = [];
  if (body.type !== "BlockStatement") {
    const value = evaluate(body, at);
    giveOut(value, at);
    leaveScope(at.scope, at, undefined);
    returns.push({ node: body, value });
  } else {
    execute(body, at);
    leaveScope(at.scope, at, undefined);
    const ways = frame.jumps.filter(({ kind }) => kind === "return");
    for (const way of ways) {
      const there = { ...at, state: way.state };
      leaveScope(at.scope, there, way);
      checkGivenOut(way.value, valueNode(way.node), there);
      returns.push({ node: valueNode(way.node), value: way.value });
      state.join(way.state);
    }
    for (const way of frame.jumps) {
      if (way.kind === "throw") {
        leaveScope(at.scope, { ...at, state: way.state }, way);
      }
    }
  }
  if (body.type !== "BlockStatement") {
    checkGivenOut(returns[0]!.value, body, at);
  }
  // All ways out throw: the code behind the call is unreachable.
  if (state.dead && isCalled) {
    state.dead = frame.jumps.every(({ kind }) => kind === "throw");
  }
  return returns;
}

function valueNode(node: Node): Node {
  return node.type === "ReturnStatement" ? node.argument ?? node : node;
}

/** The scope of a function's parameters. */
export function functionScope(
  node: FunctionNode,
  parent: Scope,
  file: File,
): Scope {
  return file.scopeOf(node, parent, node, (scope) => {
    for (const param of node.params) scope.declare(param, "param", param);
    if (node.type === "FunctionExpression" && node.id) {
      scope.declare(node.id, "function", node);
    }
  });
}

/** Drops leases that began and ended inside: the caller cannot reach them. */
function forgetOwn(frame: Frame, value: Value, at: At): void {
  const given = new Set(leasesIn(value));
  for (const lease of at.state.leases.keys()) {
    if (lease.frame !== frame || given.has(lease)) continue;
    if (at.state.status(lease).is !== "ended") continue;
    at.state.leases.delete(lease);
    for (let each: Frame | undefined = at.frame; each; each = each.parent) {
      if (each.touched.has(lease)) setTouch(each, lease, undefined);
    }
  }
}

/** What the activation used is used by the one that called it, too. */
function handOver(frame: Frame, at: At): void {
  for (const [lease, touch] of frame.touched) {
    if (at.frame.touched.has(lease)) continue;
    setTouch(at.frame, lease, touch);
  }
}

/** A block that a function acquires and returns is its caller's: acquired by the call. */
function rehome(
  value: Value,
  call: Node | undefined,
  frame: Frame,
  at: At,
): Value {
  if (call?.type === "CallExpression" && value.kind === "acquiring") {
    const { origin, many } = value.lease;
    const lease = at.file.leaseAt(
      call,
      () => ({ origin, owner: "function", many }),
    );
    return { kind: "acquiring", lease, call, many };
  }
  const of = awaited(value);
  const leases = of.kind === "block"
    ? of.leases
    : of.kind === "blocks"
    ? [of.lease]
    : [];
  const [lease] = leases;
  const isOwn = lease?.frame === frame && lease.owner === "function" &&
    !lease.isUsing && at.state.status(lease).is === "unknown";
  if (call === undefined || !isOwn || leases.length !== 1) return value;
  const mine = at.file.leaseAt(call, () => ({
    origin: lease.origin,
    owner: "function",
    many: lease.many,
  }));
  at.state.leases.delete(lease);
  if (isAsync(frame) && call.type === "CallExpression") {
    return { kind: "acquiring", lease: mine, call, many: lease.many };
  }
  begin(mine, at);
  return lease.many ? { kind: "blocks", lease: mine } : blockOf(mine);
}

function isAsync(frame: Frame): boolean {
  return frame.node.type !== "Program" && frame.node.async;
}

/** Operations that an async function goes on with when it has returned its promise. */
function lateOperations(
  frame: Frame,
  call: Node | undefined,
  at: At,
): Operation[] {
  const operations: Operation[] = [];
  for (const [lease, { node, isLate }] of frame.touched) {
    const isOwn = lease.frame === frame || lease.owner === "step";
    if (!isLate || isOwn || !at.state.leases.has(lease)) continue;
    // What is called where it stands has its operation in sight.
    const isInSight = node.type === "CallExpression" &&
      call?.type === "CallExpression" && isFunction(bare(call.callee));
    const site = isInSight ? node : call ?? node;
    // An operation that is not awaited inside is not part of the promise.
    const floats = [...at.state.pending].some((each) =>
      each.site === site && each.lease === lease
    );
    if (floats) continue;
    const operation = at.file.operationAt(site, lease, "promise", () => ({
      rule: "lend-io",
      api: nameOfCall(site, at),
      receiver: undefined,
    }));
    at.state.pending.add(operation);
    operations.push(operation);
  }
  return operations;
}

function nameOfCall(site: Node, at: At): string {
  const text = at.file.textOf(
    site.type === "CallExpression" ? site.callee : site,
  );
  return text.split("\n", 1)[0]!;
}

/** Whether a call is awaited where it stands, or its promise is returned. */
export function isAwaited(call: Node): boolean {
  const parent = parentOf(call);
  return parent?.type === "AwaitExpression" ||
    parent?.type === "ReturnStatement" ||
    parent?.type === "ArrowFunctionExpression";
}
