/**
 * Functions as values: called in place, called later, or handed to opaque code; escape analysis.
 */
import { startOperation } from "./leases.ts";
import type { State } from "./state.ts";
import { NOT_TRACKED } from "./state.ts";
import type { Call } from "./syntax.ts";
import type { Lease, Operation, Value } from "./values.ts";
import { awaited, leasesIn, UNKNOWN } from "./values.ts";
import type {
  Activation,
  At,
  Entry,
  Frame,
  FunctionValue,
  Touch,
} from "./walk.ts";
import { MOST_DEPTH, settle } from "./walk.ts";

/** What a function would do. */
export interface Glance {
  readonly ended: readonly Lease[];
  readonly touched: ReadonlyMap<Lease, Touch>;
  readonly value: Value;
  readonly yields: readonly Value[];
}

/** Calls a function in place. Returns what it gives, or `undefined` if it cannot be followed. */
export function callInPlace(
  fn: FunctionValue,
  args: readonly Value[],
  at: At,
  entry: Entry = {},
): Activation | undefined {
  if (at.frame.depth >= MOST_DEPTH) return undefined;
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    if (frame.node === fn.node) return undefined;
  }
  return at.engine.activate(fn, args, at, entry);
}

/**
 * Looks at what a function would do if it were called at some later time.
 *
 * @returns The leases that it ends, and those that it uses
 */
export function lookInto(
  fn: FunctionValue,
  args: readonly Value[],
  at: At,
): Glance {
  const nothing = { ended: [], touched: new Map(), value: UNKNOWN, yields: [] };
  const later = laterState(at.state);
  const before = new Map(later.leases);
  const called = callInPlace(fn, args, { ...at, state: later });
  if (called === undefined) return nothing;
  const ended: Lease[] = [];
  for (const [lease, { is }] of before) {
    if (is !== "ended" && later.status(lease).is === "ended") ended.push(lease);
  }
  const { touched, yields } = called.frame;
  return { ended, touched, value: called.value, yields };
}

/** What is known at some later time: only what has ended stays so. */
export function laterState(state: State): State {
  const later = state.clone();
  later.pending.clear();
  later.stored.clear();
  for (const lease of later.leases.keys()) {
    if (later.status(lease).is !== "ended") {
      later.leases.set(lease, NOT_TRACKED);
    }
  }
  return later;
}

/** A value escapes to opaque code. */
export function escape(value: Value, at: At): void {
  switch (value.kind) {
    case "block":
      for (const lease of value.leases) at.state.letGo(lease);
      return;
    case "blocks":
      return at.state.letGo(value.lease);
    case "promise":
      settle(value.operations, at);
      return escape(value.of, at);
    case "list":
      for (const each of value.items) escape(each, at);
      return;
    case "record":
      for (const each of value.members.values()) escape(each, at);
      return;
    case "function":
      return escapeFunction(value, at);
  }
}

/** The functions in a value escape, its blocks do not. */
export function escapeFunctions(value: Value, at: At): void {
  switch (value.kind) {
    case "list":
      for (const each of value.items) escapeFunctions(each, at);
      return;
    case "record":
      for (const each of value.members.values()) escapeFunctions(each, at);
      return;
    case "function":
      return escapeFunction(value, at);
  }
}

/** A function escapes: the leases that it uses or ends are not tracked any longer. */
function escapeFunction(fn: FunctionValue, at: At): void {
  if (!mentionsLease(fn, at)) return;
  const { touched } = lookInto(fn, [], at);
  for (const lease of touched.keys()) at.state.letGo(lease);
}

/** Whether the text of a function names a variable that has a lease. */
export function mentionsLease({ node }: FunctionValue, at: At): boolean {
  if (at.state.leases.size === 0) return false;
  const text = at.file.textOf(node);
  for (const place of at.state.vars.keys()) {
    const name = typeof place === "string" ? place : place.name;
    if (leasesIn(at.state.vars.get(place)!).length > 0 && text.includes(name)) {
      return true;
    }
  }
  return false;
}

/**
 * A function that runs when something is done, in a `then` or as a callback: the leases that it ends
 * are not tracked any longer.
 */
export function runsLater(
  fn: FunctionValue,
  args: readonly Value[],
  at: At,
): Value {
  const { ended, value } = lookInto(fn, args, at);
  for (const lease of ended) at.state.letGo(lease);
  return value;
}

/** A function that a timer or queue calls later: an operation on the leases that it uses. */
export function defer(fn: FunctionValue, call: Call, at: At): Operation[] {
  const { ended, touched } = lookInto(fn, [], at);
  for (const lease of ended) at.state.letGo(lease);
  const operations: Operation[] = [];
  for (const [lease, { node }] of touched) {
    if (ended.includes(lease) || !at.state.leases.has(lease)) continue;
    const api = at.file.textOf(call.callee);
    operations.push(
      ...startOperation(
        node,
        { api, fate: "deferred" },
        [lease],
        undefined,
        at,
      ),
    );
  }
  return operations;
}

/**
 * A function that is called when its maker's `using` may be over: it is an operation on the leases
 * of `using`; the others may be ended by what else refers to them, and are let go.
 *
 * @param fate `event` if an `await` of the maker may see it called, `deferred` if nothing does
 */
export function outlive(
  fn: FunctionValue,
  fate: "event" | "deferred",
  at: At,
): void {
  if (!mentionsLease(fn, at)) return;
  const { ended, touched } = lookInto(fn, [], at);
  for (const [lease, { node }] of touched) {
    const isEndedHere = lease.isUsing && !ended.includes(lease) &&
      (fate === "event" || lease.frame === at.frame);
    if (!isEndedHere) at.state.letGo(lease);
    else if (at.state.leases.has(lease)) {
      startOperation(node, { api: "", fate }, [lease], undefined, at);
    }
  }
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
      return outlive(of, "deferred", at);
  }
}
