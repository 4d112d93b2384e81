/**
 * Calls of the APIs in the table: what they do with a view, with a block, with a promise of one.
 */
import type { Fate } from "./apis.ts";
import { escape, lookInto, runsLater } from "./closures.ts";
import { bytesFix } from "./fixes.ts";
import { nameOf, startOperation } from "./leases.ts";
import { reportNotAwaited } from "./members.ts";
import * as words from "./messages.ts";
import type { Call, Node } from "./syntax.ts";
import type { Lease, Value } from "./values.ts";
import { listOf, promiseOf, UNKNOWN, viewOf, viewsIn } from "./values.ts";
import type { At } from "./walk.ts";
import { mayThrow, touch } from "./walk.ts";

/** An API as the table has it. */
export interface Api {
  readonly api: string;
  readonly fate: Fate;
  readonly rule?: "no-queue" | undefined;
  /** What the method was called on. */
  readonly receiver?: string;
  /** How it gives the bytes back, if it does. */
  readonly returns?: "array" | "buffer" | undefined;
  /** Made by `promisify`: its callback is a promise. */
  readonly promisified?: boolean;
}

/** Messages to other threads, which no block survives. */
const CLONES = /(postMessage|structuredClone)$/;

/** Gives bytes to an API. */
export function sink(
  call: Call,
  args: readonly Value[],
  { api, fate, rule, receiver, returns, promisified = false }: Api,
  at: At,
): Value {
  mayThrow(at);
  args.forEach((each, i) => checkBytes(each, call.arguments[i], api, fate, at));
  const views = [...new Set(args.flatMap(viewsIn))];
  touch(views, call, at);
  if (CLONES.test(api)) reportTaken(call, args, api, at);
  const promise = fate === "promise" || promisified && fate === "callback";
  if (promise) {
    const operations = startOperation(
      call,
      { api, fate: "promise", rule },
      views,
      receiver,
      at,
    );
    return promiseOf(givenBack(views, returns), operations);
  }
  for (const each of args) {
    if (each.kind === "function") runsLater(each, [], at);
  }
  // A body may be anything that gives bytes one after the other.
  const iterables = args.flatMap((each) =>
    each.kind === "record" ? [...each.members.values()] : [each]
  ).filter(({ kind }) => kind === "chunks" || kind === "generator");
  if (fate === "copies" && /(Response|Request|fetch)$/.test(api)) {
    queue(call, iterables, api, at);
  }
  switch (fate) {
    case "queues":
      queue(call, args, api, at);
      return UNKNOWN;
    case "callback": {
      const open = views.filter((lease) =>
        at.state.status(lease).is !== "unknown" || !callsBack(args)
      );
      startOperation(call, { api, fate, rule }, open, receiver, at);
      return UNKNOWN;
    }
  }
  return copied(args, api);
}

/** Reports buffers that a message takes along: `worker.postMessage(bytes, [bytes.buffer])`. */
function reportTaken(
  call: Call,
  [, transfer]: readonly Value[],
  api: string,
  at: At,
): void {
  const leases = transfer === undefined ? [] : viewsIn(transfer);
  if (leases.length === 0 || /\breattach\b/.test(at.file.text)) return;
  const said = words.taken(api, nameOf(leases[0]!));
  at.file.report("no-queue", call, said, leases);
}

/** The bytes, as an operation gives them back. */
function givenBack(views: readonly Lease[], returns: Api["returns"]): Value {
  if (views.length === 0 || returns === undefined) return UNKNOWN;
  const view = viewOf(views);
  return returns === "array"
    ? listOf([view, UNKNOWN])
    : { kind: "record", members: new Map([["buffer", view]]) };
}

function callsBack(args: readonly Value[]): boolean {
  return args.some(({ kind }) => kind === "function");
}

/** A view of a buffer is a view, whatever class it is made by; everything else is a copy. */
function copied(args: readonly Value[], api: string): Value {
  const [first] = args;
  const isView = first?.kind === "view" && first.isBuffer &&
    /(Array|DataView|Buffer\.from)$/.test(api);
  return isView ? viewOf(first.leases) : promiseOf(UNKNOWN);
}

/**
 * Puts views into something that sends them at a time of its own. Blocks go along with their leases,
 * but for those that end here.
 */
function queue(
  call: Call,
  args: readonly Value[],
  api: string,
  at: At,
): void {
  for (const each of args) {
    const leases = queuedIn(each, at);
    if (leases.length === 0) {
      escape(each, at);
      continue;
    }
    const what = each.kind === "chunks"
      ? "the views of this loop"
      : `a view of \`${nameOf(leases[0]!)}\``;
    at.file.report("no-queue", call, words.queued(api, what), leases);
  }
}

/** The leases of which a stream made of the value would have views. */
function queuedIn(value: Value, at: At): readonly Lease[] {
  if (value.kind === "list") {
    return value.items.flatMap((each) => [...queuedIn(each, at)]);
  }
  if (value.kind === "block") {
    return value.leases.filter(({ isUsing, owner }) =>
      isUsing || owner === "use" || owner === "step"
    );
  }
  if (value.kind !== "generator") return viewsIn(value);
  return lookInto(value.fn, value.args, at).yields.flatMap(viewsIn);
}

/** A block, or a promise of one, where its bytes are asked for. */
function checkBytes(
  value: Value,
  node: Node | undefined,
  api: string,
  fate: Fate,
  at: At,
): void {
  if (node === undefined || fate === "queues") return;
  switch (value.kind) {
    case "acquiring":
      reportNotAwaited(value, node, at);
      return;
    case "block": {
      const name = nameOf(value.leases[0]!);
      const clones = CLONES.test(api);
      const said = clones
        ? words.notCloned(name)
        : words.notBytes(name, `\`${api}\``);
      const fix = clones ? undefined : bytesFix(node);
      at.file.report("no-block-as-bytes", node, said, value.leases, fix);
      return;
    }
    case "list":
      return checkEach(value.items, node, api, fate, at);
    case "record":
      return checkEach([...value.members.values()], node, api, fate, at);
  }
}

function checkEach(
  values: readonly Value[],
  node: Node,
  api: string,
  fate: Fate,
  at: At,
): void {
  const parts: readonly (Node | null)[] = node.type === "ArrayExpression"
    ? node.elements
    : node.type === "ObjectExpression"
    ? node.properties.map((each) =>
      each.type === "Property" ? each.value : each
    )
    : [];
  values.forEach((each, i) =>
    checkBytes(each, parts[i] ?? node, api, fate, at)
  );
}

/** Tells the functions of a stream what their controller is. */
export function give(source: Value | undefined, at: At): void {
  if (source?.kind !== "record") return;
  const controller: Value = { kind: "thing", type: "controller" };
  for (const [name, fn] of source.members) {
    if (fn.kind !== "function") continue;
    const isFirst = name === "start" || name === "pull" || name === "flush";
    at.file.given.set(fn.node, isFirst ? [controller] : [UNKNOWN, controller]);
  }
}
