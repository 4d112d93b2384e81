/**
 * Arrays, Maps, Sets and fields that blocks and views are put into.
 *
 * Notes what was put where; whether it stays there for too long is decided when its lease ends, or
 * when the container is read after that.
 */
import { escape, escapeFunctions } from "./closures.ts";
import { clearPlace, isPlain, renew, reportKept } from "./leases.ts";
import type { Binding } from "./scope.ts";
import type { Place } from "./state.ts";
import { HELD, KEPT } from "./state.ts";
import type { Call, Expression, Node } from "./syntax.ts";
import { bare, lastName, rootOf } from "./syntax.ts";
import type { Value } from "./values.ts";
import {
  blockOf,
  blocksIn,
  listOf,
  union,
  UNKNOWN,
  viewsIn,
} from "./values.ts";
import type { At } from "./walk.ts";
import { isOuter } from "./walk.ts";

/** What arrays and Maps are called, where nothing else says that they are. */
const CONTAINER_NAME =
  /(s|list|array|queue|stack|out|acc|cache|map|set|store|history|backlog|pending|ring|log)$/i;
/** What looks like one by its name and works on what it is given. */
const CONSUMER_NAME =
  /(parser|decoder|encoder|hash|hasher|inflate|deflate|gzip|unzip|splitter|demuxer|process|params|headers|class)$/i;

const ADDS = new Set(["push", "unshift", "add", "set", "append", "enqueue"]);
const REMOVES = new Set(["delete", "clear", "pop", "shift", "splice"]);

/** Notes that the blocks and views of a value lie at a place. */
export function store(
  value: Value,
  place: Place,
  outlives: boolean,
  node: Node,
  at: At,
): void {
  for (const lease of new Set(viewsIn(value))) {
    at.state.stored.add({ lease, node, place, outlives, isBlock: false });
  }
  for (const lease of new Set(blocksIn(value))) {
    if (!lease.isUsing) continue;
    at.state.stored.add({ lease, node, place, outlives, isBlock: true });
  }
}

/** Puts a value into an array of this function. */
export function put(value: Value, binding: Binding, node: Node, at: At): void {
  const held = at.state.vars.get(binding);
  const items = held?.kind === "list" ? held.items : [];
  at.state.vars.set(binding, listOf([...items, value], true));
  store(value, binding, false, node, at);
  // What takes it out may call it.
  escapeFunctions(value, at);
  for (const lease of blocksIn(value)) {
    lease.escapes = true;
    if (at.state.status(lease).is === "held") at.state.leases.set(lease, KEPT);
  }
}

/** A call of a method of an array, a Map or a Set; `undefined` if it is none. */
export function containerCall(
  call: Call,
  object: Expression,
  method: string,
  value: Value,
  args: readonly Value[],
  at: At,
): Value | undefined {
  if (!REMOVES.has(method) && !ADDS.has(method)) return undefined;
  const place = placeOf(object, at);
  if (REMOVES.has(method)) {
    if (place !== undefined) clearPlace(place, at);
    escape(value, at);
    return value.kind === "list" ? UNKNOWN : undefined;
  }
  const isMap = method === "set" || method === "append";
  // `bytes.set(view)` copies, `kv.set(["key"], view)` too.
  if (isMap && (args.length < 2 || !isPlain(call.arguments[0]))) {
    return undefined;
  }
  if (isMap && call.arguments[0]!.type === "ArrayExpression") return undefined;
  const added = isMap ? args.slice(1) : args;
  const isKnown = value.kind === "list" ||
    value.kind === "thing" && /^(Map|Set|WeakMap)$/.test(value.type);
  const isNamed = value.kind === "unknown" && isContainerName(object);
  if (!isKnown && !isNamed) return undefined;
  const isLocal = place !== undefined && typeof place !== "string" &&
    place.kind !== "param" && !isOuter(place, at);
  for (const each of added) {
    if (isLocal && value.kind === "list" && !isMap) {
      put(each, place, call, at);
    } else {
      store(each, place ?? at.file.textOf(object), !isLocal, call, at);
      escape(each, at);
    }
  }
  return UNKNOWN;
}

function isContainerName(object: Expression): boolean {
  const name = lastName(object);
  return name !== undefined && CONTAINER_NAME.test(name) &&
    !CONSUMER_NAME.test(name);
}

function placeOf(object: Expression, at: At): Place | undefined {
  const inner = bare(object);
  if (inner.type === "Identifier") {
    return at.scope.lookup(inner.name) ?? inner.name;
  }
  return rootOf(inner) === undefined ? undefined : at.file.textOf(inner);
}

/** A walk over the elements of a value. */
export interface Each {
  /** Begins a round; gives the element. */
  readonly begin: (at: At) => Value;
  /** Ends a round. */
  readonly end: (at: At) => void;
  /** There is at least one element, as far as this analysis cares. */
  readonly isCertain: boolean;
}

/**
 * How to walk over a value. Its blocks are one block in each round; what becomes of that one in a
 * round becomes of all of them.
 */
export function eachOf(value: Value, node: Node, at: At): Each {
  const items = value.kind === "list" ? value.items : [];
  const any = items.length > 0 ? items.reduce(union) : UNKNOWN;
  const leases = value.kind === "blocks"
    ? [value.lease]
    : any.kind === "block"
    ? any.leases
    : [];
  if (leases.length === 0) {
    if (any.kind === "unknown") escape(value, at);
    return {
      isCertain: items.length > 0,
      begin(at) {
        // Those of the caller are others in each round.
        for (const lease of blocksIn(any)) {
          if (lease.owner === "caller") renew(lease, HELD, at);
        }
        return any;
      },
      end() {},
    };
  }
  const element = at.file.elementOf(leases[0]!, `${at.file.idOf(node)}`);
  element.name = leases[0]!.name || "block";
  const { is, end } = at.state.status(leases[0]!);
  return {
    isCertain: true,
    begin(at) {
      renew(element, is === "ended" ? { is, end } : HELD, at);
      return blockOf(element);
    },
    end(at) {
      const { is, end } = at.state.status(element);
      for (const lease of leases) {
        if (is === "ended") at.state.leases.set(lease, { is, end });
        else if (is !== "held") at.state.letGo(lease);
      }
    },
  };
}

/** A variable is read: what it keeps of a lease that has ended is reported where it was put. */
export function readContainer(place: Place, node: Node, at: At): void {
  for (const each of at.state.stored) {
    if (each.place !== place || each.node === node) continue;
    const { is, end } = at.state.status(each.lease);
    if (is !== "ended" || end === undefined) continue;
    at.state.stored.delete(each);
    reportKept(each.node, each.isBlock, each.lease, end, at);
  }
}
