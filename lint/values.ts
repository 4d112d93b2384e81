/**
 * What an expression can be as far as blocks are concerned: a pool, a block, a view of its bytes,
 * a promise of one, an operation under way, an API.
 *
 * Plain records, never changed once made; what becomes of a lease over time is in `state.ts`.
 */
import type { Fate } from "./apis.ts";
import type { Scope } from "./scope.ts";
import type { Call, ClassNode, FunctionNode, Node } from "./syntax.ts";

/** The rules of the plugin. */
export type RuleName =
  | "lend-io"
  | "lend-return"
  | "no-queue"
  | "release"
  | "no-use-after-release"
  | "await-acquire"
  | "acquire-many"
  | "race"
  | "no-block-as-bytes";

/**
 * Where a block comes from and how sure that is. `sure` when a constructor, an import or a type
 * says so; else only a name did, and what is done with its blocks decides (`isBlock`, `isOther`).
 */
export interface Origin {
  /** The same for two expressions that are the same pool. */
  readonly key: string | undefined;
  /** As the code calls it. */
  readonly name: string;
  readonly sure: boolean;
  /** A `SizeClassPool`: its acquire takes a length. */
  readonly sized: boolean;
  /** Something was done that only a block allows. */
  isBlock: boolean;
  /** What it gives is called a block and is released: no array of bytes. */
  isHandle: boolean;
  /** Imported from a module that is called a pool, too. */
  isImported: boolean;
  /** Something was done that a block has not. */
  isOther: boolean;
}

/** What ends a lease: this function, its caller, `pool.use`, or the step of a loop over chunks. */
export type Owner = "function" | "caller" | "use" | "step";

/** A lease as the code makes it: one for each place that acquires. */
export interface Lease {
  readonly site: Node;
  readonly origin: Origin;
  readonly owner: Owner;
  /** An array of blocks of `acquireMany`, or of a parameter. */
  readonly many: boolean;
  /** The array that it is an element of. */
  readonly array?: Lease;
  /** The activation that owns it, the last time that it began. */
  frame: object | undefined;
  /** The name that it was first bound to. */
  name: string;
  /** Its acquire has a `catch` of its own: it may be something else. */
  isCaught: boolean;
  /** Known by the type of a member only: of which object is not known, so nothing is noted. */
  readonly isVague: boolean;
  /** Bound by `using`. */
  isUsing: boolean;
  /** Handed on somewhere, on some path: then `using` would end it too early. */
  escapes: boolean;
  /** The `const` that could be `using` instead. */
  declaration?: Deno.lint.VariableDeclaration;
}

/** A call that goes on using the bytes of a lease after it has returned. */
export interface Operation {
  readonly site: Node;
  readonly lease: Lease;
  readonly fate: Fate | "deferred" | "event";
  readonly rule: RuleName;
  /** The API as the table names it, or the code. */
  readonly api: string;
  /** The name of what the method was called on. */
  readonly receiver: string | undefined;
  /** The race that took its promise. */
  raced: Node | undefined;
  /** Awaited after that, on some path: code that knows who won. */
  isAwaited: boolean;
}

/** What an expression is. */
export type Value =
  | { readonly kind: "unknown" }
  | {
    readonly kind: "nothing";
    readonly is: "null" | "undefined" | "either";
  }
  | { readonly kind: "boolean"; readonly isTrue: boolean }
  | { readonly kind: "foreign" }
  | { readonly kind: "pool"; readonly origin: Origin }
  | {
    readonly kind: "block";
    readonly leases: readonly Lease[];
    readonly maybe: boolean;
  }
  | { readonly kind: "blocks"; readonly lease: Lease }
  | { readonly kind: "chunk"; readonly lease: Lease }
  | { readonly kind: "chunks"; readonly lease: Lease; readonly call: Node }
  | {
    readonly kind: "view";
    readonly leases: readonly Lease[];
    readonly isBuffer: boolean;
  }
  | {
    readonly kind: "acquiring";
    readonly lease: Lease;
    readonly call: Call;
    readonly many: boolean;
  }
  | {
    readonly kind: "promise";
    readonly of: Value;
    readonly operations: readonly Operation[];
  }
  | {
    readonly kind: "list";
    readonly items: readonly Value[];
    readonly many: boolean;
  }
  | { readonly kind: "record"; readonly members: ReadonlyMap<string, Value> }
  | {
    readonly kind: "function";
    readonly node: FunctionNode;
    readonly scope: Scope;
    readonly self: ClassNode | undefined;
  }
  | {
    readonly kind: "generator";
    readonly fn: Value & { readonly kind: "function" };
    readonly args: readonly Value[];
  }
  | { readonly kind: "class"; readonly node: ClassNode; readonly scope: Scope }
  | { readonly kind: "self"; readonly node: ClassNode }
  | {
    readonly kind: "api";
    readonly path: string;
    readonly promisified: boolean;
  }
  | { readonly kind: "thing"; readonly type: string };

export const UNKNOWN: Value = { kind: "unknown" };
export const NOTHING: Value = { kind: "nothing", is: "undefined" };
export const NULL: Value = { kind: "nothing", is: "null" };
const EITHER: Value = { kind: "nothing", is: "either" };
export const TRUE: Value = { kind: "boolean", isTrue: true };
export const FALSE: Value = { kind: "boolean", isTrue: false };
export const FOREIGN: Value = { kind: "foreign" };

/** A block of one lease. */
export function blockOf(lease: Lease, maybe = false): Value {
  return { kind: "block", leases: [lease], maybe };
}

/** A view of a block's memory. */
export function viewOf(leases: readonly Lease[], isBuffer = false): Value {
  return { kind: "view", leases, isBuffer };
}

/** A promise; `of` is what awaiting it gives. */
export function promiseOf(
  of: Value,
  operations: readonly Operation[] = [],
): Value {
  return { kind: "promise", of, operations };
}

/** An array of values. */
export function listOf(items: readonly Value[], many = false): Value {
  return { kind: "list", items, many };
}

/** One of several pools: it cannot be told which. */
export function anyOf({ origin }: Value & { kind: "pool" }): Value {
  return { kind: "pool", origin: { ...origin, key: undefined } };
}

/** What an expression is that may be either of two. */
export function union(a: Value, b: Value): Value {
  if (a === b) return a;
  if (a.kind === "nothing" && b.kind === "nothing") return EITHER;
  if (a.kind === "nothing") return maybe(b);
  if (b.kind === "nothing") return maybe(a);
  if (a.kind === "block" && b.kind === "block") {
    return {
      kind: "block",
      leases: [...new Set([...a.leases, ...b.leases])],
      maybe: a.maybe || b.maybe,
    };
  }
  if (a.kind === "view" && b.kind === "view" && a.isBuffer === b.isBuffer) {
    return viewOf([...new Set([...a.leases, ...b.leases])], a.isBuffer);
  }
  if (a.kind === "acquiring" && b.kind === "acquiring" && a.lease === b.lease) {
    return a;
  }
  // Whether it has to be awaited is known of both alone.
  if (a.kind === "acquiring" || b.kind === "acquiring") return UNKNOWN;
  if (a.kind === "promise" || b.kind === "promise") {
    return promiseOf(
      union(awaited(a), awaited(b)),
      [...new Set([...operationsOf(a), ...operationsOf(b)])],
    );
  }
  if (a.kind === "list" && b.kind === "list") {
    return listOf([...new Set([...a.items, ...b.items])], a.many || b.many);
  }
  if (a.kind === "blocks" && b.kind === "blocks" && a.lease === b.lease) {
    return a;
  }
  if (a.kind === "pool" && b.kind === "pool" && a.origin === b.origin) return a;
  if (a.kind === "thing" && b.kind === "thing" && a.type === b.type) return a;
  if (a.kind === "function" && b.kind === "function" && a.node === b.node) {
    return a;
  }
  if (a.kind === "self" && b.kind === "self" && a.node === b.node) return a;
  if (a.kind === "api" && b.kind === "api" && a.path === b.path) return a;
  return UNKNOWN;
}

/** A value, or nothing. */
export function maybe(value: Value): Value {
  switch (value.kind) {
    case "block":
      return { ...value, maybe: true };
    case "boolean":
      return UNKNOWN;
  }
  return value;
}

/** What awaiting a value gives, as far as that needs no state. */
export function awaited(value: Value): Value {
  return value.kind === "promise" ? value.of : value;
}

/** The operations that settle when the value, or what is in it, does. */
export function operationsOf(value: Value): Operation[] {
  switch (value.kind) {
    case "promise":
      return [...value.operations, ...operationsOf(value.of)];
    case "list":
      return value.items.flatMap(operationsOf);
    case "record":
      return [...value.members.values()].flatMap(operationsOf);
  }
  return [];
}

/** A value with one lease for another. */
export function replaced(value: Value, lease: Lease, other: Lease): Value {
  const swap = (each: Lease) => each === lease ? other : each;
  switch (value.kind) {
    case "block":
    case "view":
      return value.leases.includes(lease)
        ? { ...value, leases: value.leases.map(swap) }
        : value;
    case "blocks":
    case "chunk":
      return { ...value, lease: swap(value.lease) };
    case "promise":
      return { ...value, of: replaced(value.of, lease, other) };
    case "list":
      return listOf(
        value.items.map((each) => replaced(each, lease, other)),
        value.many,
      );
    case "record": {
      const members = [...value.members].map((
        [name, each],
      ): [string, Value] => [
        name,
        replaced(each, lease, other),
      ]);
      return { kind: "record", members: new Map(members) };
    }
  }
  return value;
}

/** The leases whose block, or a view of it, is in the value. */
export function leasesIn(value: Value): Lease[] {
  return [...blocksIn(value), ...viewsIn(value)];
}

/** The leases whose handle is in the value. */
export function blocksIn(value: Value): readonly Lease[] {
  switch (value.kind) {
    case "block":
      return value.leases;
    case "blocks":
      return [value.lease];
    case "promise":
      return blocksIn(value.of);
    case "list":
      return value.items.flatMap(blocksIn);
    case "record":
      return [...value.members.values()].flatMap(blocksIn);
  }
  return [];
}

/** The leases of which the value has a view. */
export function viewsIn(value: Value): readonly Lease[] {
  switch (value.kind) {
    case "view":
      return value.leases;
    case "chunk":
    case "chunks":
      return [value.lease];
    case "promise":
      return viewsIn(value.of);
    case "list":
      return value.items.flatMap(viewsIn);
    case "record":
      return [...value.members.values()].flatMap(viewsIn);
  }
  return [];
}
