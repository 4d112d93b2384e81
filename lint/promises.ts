/**
 * Promises: awaited, chained, combined, raced, made by hand.
 *
 * Awaiting settles the operations that a promise stands for; losing a race settles nothing.
 */
import { RACES } from "./apis.ts";
import { callInPlace, escape, runsLater } from "./closures.ts";
import { begin, checkDeadlock, sameSize } from "./leases.ts";
import * as words from "./messages.ts";
import { HELD } from "./state.ts";
import type { Call, Node } from "./syntax.ts";
import type { Operation, Value } from "./values.ts";
import {
  awaited,
  blockOf,
  blocksIn,
  listOf,
  operationsOf,
  promiseOf,
  union,
  UNKNOWN,
} from "./values.ts";
import type { At, FunctionValue } from "./walk.ts";
import { mayThrow, settle } from "./walk.ts";

/** A promise that code settles by its functions, as a callback does. */
const BY_HAND = "promise by hand";

/** What awaiting a value gives; its operations are over then. */
export function awaitValue(value: Value, at: At): Value {
  mayThrow(at);
  settle(operationsOf(value), at);
  if (value.kind === "thing" && value.type === BY_HAND) {
    settle([...at.state.pending].filter(({ fate }) => fate === "callback"), at);
  }
  letOthersRun(at);
  switch (value.kind) {
    case "acquiring":
      return bear(value, at);
    case "promise":
      return value.of.kind === "acquiring" || value.of.kind === "promise"
        ? awaitValue(value.of, at)
        : value.of;
  }
  return value;
}

/** The block of an acquire that has been waited for. */
export function bear(value: Value & { kind: "acquiring" }, at: At): Value {
  const { lease, call, many } = value;
  checkDeadlock(lease.origin, call, lease, at);
  begin(lease, at);
  return many ? { kind: "blocks", lease } : blockOf(lease);
}

/** Another part of the program runs: events come, and fields may be something else. */
export function letOthersRun(at: At): void {
  at.frame.hasAwaited = true;
  settle([...at.state.pending].filter(({ fate }) => fate === "event"), at);
  for (const place of at.state.vars.keys()) {
    if (typeof place === "string" && place.startsWith("this.")) {
      at.state.vars.delete(place);
    }
  }
}

/** `promise.then(…)`, `.catch(…)`, `.finally(…)`. */
export function chain(
  value: Value & { kind: "promise" | "acquiring" },
  method: string,
  args: readonly Value[],
  at: At,
): Value {
  const operations: Operation[] = operationsOf(value);
  const given = value.kind === "promise" ? [awaited(value)] : [];
  let of = method === "then" ? UNKNOWN : awaited(value);
  args.forEach((each, i) => {
    if (each.kind !== "function") return;
    const takesBlock = method === "then" && i === 0 &&
      each.node.params.length > 0;
    if (value.kind === "acquiring" && takesBlock) {
      of = thenAcquired(value, each, at);
      return;
    }
    const result = runsLater(
      each,
      method === "then" && i === 0 ? given : [],
      at,
    );
    operations.push(...operationsOf(result));
    if (method === "then" && i === 0) of = awaited(result);
    else if (method !== "finally") of = union(of, awaited(result));
  });
  if (value.kind === "acquiring" && method === "catch") {
    value.lease.isCaught = true;
  }
  if (value.kind === "acquiring" && method !== "then") return value;
  return promiseOf(of, operations);
}

/** `pool.acquire().then((block) => …)`: the function owns the block. */
function thenAcquired(
  value: Value & { kind: "acquiring" },
  fn: FunctionValue,
  at: At,
): Value {
  const later = { ...at, state: at.state.clone() };
  const [param] = fn.node.params;
  if (param?.type === "Identifier") value.lease.name = param.name;
  later.state.leases.set(value.lease, HELD);
  const block: Value = value.many
    ? { kind: "blocks", lease: value.lease }
    : blockOf(value.lease);
  const called = callInPlace(fn, [block], later, { owns: value.lease });
  if (called === undefined) return UNKNOWN;
  return awaited(called.value);
}

/** `Promise.all`, `.race` and their kin; `undefined` for any other function. */
export function combine(
  path: string,
  args: readonly Value[],
  call: Call,
  at: At,
): Value | undefined {
  const [first] = args;
  if (RACES.has(path)) {
    for (const each of operationsOf(first ?? UNKNOWN)) each.raced = call;
    return promiseOf(UNKNOWN);
  }
  switch (path) {
    case "Promise.all":
    case "Promise.allSettled":
      return all(path, first ?? UNKNOWN, at);
    case "Promise.resolve":
      return promiseOf(
        awaited(first ?? UNKNOWN),
        operationsOf(first ?? UNKNOWN),
      );
    case "Promise.withResolvers":
      return {
        kind: "record",
        members: new Map([["promise", { kind: "thing", type: BY_HAND }]]),
      };
    case "Promise.try": {
      if (first?.kind !== "function") return UNKNOWN;
      const called = callInPlace(first, args.slice(1), at);
      return called === undefined
        ? UNKNOWN
        : promiseOf(awaited(called.value), operationsOf(called.value));
    }
  }
  return undefined;
}

function all(path: string, value: Value, at: At): Value {
  if (value.kind !== "list") {
    return promiseOf(UNKNOWN, operationsOf(value));
  }
  const acquiring = value.items.filter((each) => each.kind === "acquiring");
  acquiring.forEach(({ lease, call }, i) => {
    const { key, sized } = lease.origin;
    if (key === undefined) return;
    const isMore = value.many && !sized ||
      acquiring.slice(0, i).some((each) =>
        each.lease.origin === lease.origin &&
        (!sized || sameSize(call, each.call, at))
      );
    if (!isMore) return;
    at.file.report("acquire-many", call, words.holdsMore(), [lease]);
  });
  const items = value.items.map((each) => {
    if (each.kind !== "acquiring") return awaited(each);
    begin(each.lease, at);
    const blocks: Value = { kind: "blocks", lease: each.lease };
    return each.many ? blocks : blockOf(each.lease);
  });
  const of = path === "Promise.all" ? listOf(items, value.many) : UNKNOWN;
  if (of.kind !== "list") items.forEach((each) => escape(each, at));
  if (value.many) {
    for (const lease of items.flatMap(blocksIn)) at.state.letGo(lease);
  }
  return promiseOf(of, operationsOf(value));
}

/** `new Promise((resolve) => …)`: what is started inside belongs to the promise. */
export function promised(args: readonly Value[], at: At): Value {
  const [executor] = args;
  if (executor?.kind !== "function") return promiseOf(UNKNOWN);
  const before = new Set(at.state.pending);
  callInPlace(executor, [], at);
  const started = [...at.state.pending].filter((each) => !before.has(each));
  const [resolve] = executor.node.params;
  // `new Promise((r) => resolve = r)`
  const isHandedOut = started.length === 0 && resolve?.type === "Identifier" &&
    new RegExp(`=\\s*${resolve.name.replaceAll("$", "\\$")}\\b`)
      .test(at.file.textOf(executor.node));
  return isHandedOut
    ? { kind: "thing", type: BY_HAND }
    : promiseOf(UNKNOWN, started);
}

/** Whether something is awaited that tells when a receiver is done: `await once(res, "finish")`. */
export function settleReceivers(args: readonly Node[], at: At): void {
  for (const arg of args) {
    if (arg.type !== "Identifier" && arg.type !== "MemberExpression") continue;
    const text = at.file.textOf(arg);
    for (const each of at.state.pending) {
      if (each.receiver === text) at.state.pending.delete(each);
    }
  }
}
