/**
 * Calls of this package: methods of pools and blocks, functions of `@smriti/pool/io`.
 */
import { callInPlace, escape } from "./closures.ts";
import {
  begin,
  checkCovered,
  checkDeadlock,
  checkUse,
  endBy,
  endOf,
  keep,
  nameOf,
} from "./leases.ts";
import { memberOf, reportNotAwaited } from "./members.ts";
import * as words from "./messages.ts";
import { poolOf } from "./origins.ts";
import {
  ACQUIRES,
  BLOCK_MEMBERS,
  ENDS,
  POOL_CLASSES,
  POOL_MAKERS,
} from "./smriti_api.ts";
import type { Call, FunctionNode, Node } from "./syntax.ts";
import { stringOf } from "./syntax.ts";
import type { Lease, Origin, Value } from "./values.ts";
import {
  awaited,
  blockOf,
  leasesIn,
  operationsOf,
  promiseOf,
  UNKNOWN,
  viewOf,
} from "./values.ts";
import type { At } from "./walk.ts";
import { mayThrow, settle, touch } from "./walk.ts";

/** Whether a method is one that only matters on a pool. */
export function isPoolMethod(method: string, args: readonly Value[]): boolean {
  if (ACQUIRES.has(method)) return true;
  return method === "use" && args[0]?.kind === "function" ||
    (method === "release" || method === "detachMany") && args.length === 1;
}

/** A method of a pool. */
export function poolCall(
  origin: Origin,
  method: string,
  args: readonly Value[],
  node: Call,
  at: At,
): Value {
  const gives = ACQUIRES.get(method);
  if (gives !== undefined) {
    for (const each of args) escape(each, at);
    mayThrow(at);
    // No pool of blocks takes a name.
    if (isText(node.arguments[0])) origin.isOther = true;
    // Other pools have no such methods and options.
    if (gives.many || method === "acquireSync" || args.some(isAcquireOptions)) {
      origin.isBlock = true;
    }
    const lease = at.file.leaseAt(node, () => ({
      origin,
      owner: "function",
      many: gives.many,
    }));
    if (gives.isPromise) {
      return { kind: "acquiring", lease, call: node, many: gives.many };
    }
    begin(lease, at);
    return gives.many ? { kind: "blocks", lease } : blockOf(lease, gives.maybe);
  }
  const [first] = args;
  switch (method) {
    case "use":
      return useCall(origin, args, node, at);
    case "release":
      if (first?.kind === "block") {
        endBy("release", first.leases, method, node, at);
      } else if (first?.kind === "acquiring") reportNotAwaited(first, node, at);
      return UNKNOWN;
    case "detachMany":
      if (first?.kind === "blocks") {
        endBy("detach", [first.lease], method, node, at);
      } else for (const each of args) escape(each, at);
      return UNKNOWN;
  }
  return UNKNOWN;
}

/** Whether an argument is a text. */
function isText(node: Node | undefined): boolean {
  return stringOf(node) !== undefined || node?.type === "TemplateLiteral";
}

/** Whether an argument has options of `acquire`. */
function isAcquireOptions(value: Value): boolean {
  return value.kind === "record" &&
    ["timeoutMs", "reserved", "tag"].some((name) => value.members.has(name));
}

/** `pool.use((block) => …)`: the lease lasts as long as the function. */
function useCall(
  origin: Origin,
  [fn, ...rest]: readonly Value[],
  node: Call,
  at: At,
): Value {
  for (const each of rest) escape(each, at);
  if (fn?.kind !== "function") return promiseOf(UNKNOWN);
  const lease = at.file.leaseAt(
    node,
    () => ({ origin, owner: "use", many: false }),
  );
  checkDeadlock(origin, node, lease, at);
  lease.name = nameOfParam(fn.node) ?? "block";
  begin(lease, at);
  keep(lease, at);
  const covers = { lease, by: "use" as const };
  const called = callInPlace(fn, [blockOf(lease)], at, { covers });
  if (called === undefined) return promiseOf(UNKNOWN);
  settle(operationsOf(called.value), at);
  checkCovered(lease, at);
  for (const { node: place, value } of called.returns) {
    if (!leasesIn(value).includes(lease)) continue;
    const what = awaited(value).kind === "block"
      ? `\`${lease.name}\``
      : `A view of \`${lease.name}\``;
    const line = at.file.lineOf(node);
    const said = words.outlived(what, { how: "use", node }, line);
    at.file.report("no-use-after-release", place, said, [lease]);
  }
  if (at.state.status(lease).is !== "ended") {
    endOf(lease, { how: "use", node }, at);
  }
  const isOut = leasesIn(called.value).includes(lease);
  return promiseOf(isOut ? UNKNOWN : awaited(called.value));
}

function nameOfParam(node: FunctionNode): string | undefined {
  const [param] = node.params;
  return param?.type === "Identifier" ? param.name : undefined;
}

/** A method of a block. */
export function blockCall(
  block: Value & { kind: "block" },
  method: string,
  args: readonly Value[],
  node: Deno.lint.CallExpression,
  at: At,
): Value {
  const { leases } = block;
  if (method === "lend") return lendCall(leases, args, node, at);
  const how = ENDS.get(method);
  if (how !== undefined) {
    for (const { origin, name } of leases) {
      if (method === "abandon") origin.isBlock = true;
      if (method === "release" && /block/i.test(name)) origin.isHandle = true;
    }
    endBy(how, leases, method, node, at);
    return UNKNOWN;
  }
  mayThrow(at);
  if (!BLOCK_MEMBERS.has(method)) {
    for (const each of args) escape(each, at);
  }
  const member = memberOf(block, method, node.callee, at);
  return method === "first" ? viewOf(leases) : member;
}

/** `block.lend(operation)`. */
function lendCall(
  leases: readonly Lease[],
  [operation]: readonly Value[],
  node: Deno.lint.CallExpression,
  at: At,
): Value {
  const lease = leases[0]!;
  lease.origin.isBlock = true;
  checkUse(leases, `\`${nameOf(lease)}\``, node, at);
  mayThrow(at);
  if (operation?.kind !== "function") {
    settle(operationsOf(operation ?? UNKNOWN), at);
    return promiseOf(awaited(operation ?? UNKNOWN));
  }
  const covers = { lease, by: "lend" as const };
  const called = callInPlace(operation, [viewOf(leases)], at, { covers });
  if (called === undefined) return promiseOf(UNKNOWN);
  settle(operationsOf(called.value), at);
  const before = at.file.findings.save();
  checkCovered(lease, at);
  if (at.file.findings.save() === before) {
    checkWaits(operation.node, lease, at);
  }
  return promiseOf(awaited(called.value));
}

/**
 * A function given to `lend` that waits for nothing and gives nothing, but calls something with the
 * bytes: the block is lent for no longer than that call takes to return.
 */
function checkWaits(fn: FunctionNode, lease: Lease, at: At): void {
  const { body } = fn;
  if (body?.type !== "BlockStatement") return;
  const text = at.file.textOf(body);
  if (/\b(await|return\s+[^;\s])/.test(text)) return;
  const [param] = fn.params;
  const name = param?.type === "Identifier" ? param.name : "bytes";
  const passes = new RegExp(
    `[\\w)]\\((?:[^()]*[^\\w.])?${name.replaceAll("$", "\\$")}\\b`,
  );
  for (const each of body.body) {
    if (each.type !== "ExpressionStatement") continue;
    const { expression } = each;
    if (expression.type !== "CallExpression") continue;
    if (!passes.test(at.file.textOf(expression))) continue;
    const api = at.file.textOf(expression.callee);
    at.file.report("lend-return", expression, words.notReturned(api, "lend"), [
      lease,
    ]);
    return;
  }
}

/** Methods of arrays that give all of the elements. */
const GIVES_ALL = /^(values|reverse|sort|toReversed|toSorted)$/;

/** A method of an array of blocks. */
export function blocksCall(
  blocks: Value & { kind: "blocks" },
  method: string,
  args: readonly Value[],
  node: Call,
  at: At,
): Value {
  const { lease } = blocks;
  switch (method) {
    case "@dispose":
      endBy("release", [lease], method, node, at);
      return UNKNOWN;
    case "at":
      return memberOf(blocks, "[]", node, at);
    case "pop":
    case "shift": {
      const element = memberOf(blocks, "[]", node, at);
      at.state.letGo(lease);
      return element;
    }
  }
  if (GIVES_ALL.test(method)) return blocks;
  // What it gives may be some of them, and released.
  at.state.letGo(lease);
  for (const each of args) escape(each, at);
  return UNKNOWN;
}

/** A function or static method of this package; `undefined` if it does nothing of interest. */
export function smritiCall(
  path: string,
  args: readonly Value[],
  node: Deno.lint.CallExpression,
  at: At,
): Value | undefined {
  const made = madePool(path, node, at);
  if (made !== undefined) return made;
  switch (path) {
    case "readBody":
      return withBlock(
        args,
        1,
        node,
        at,
        (leases) => promiseOf(viewOf(leases)),
      );
    case "copy":
      return withBlock(args, 2, node, at, () => promiseOf(UNKNOWN));
    case "chunks":
    case "readFrames":
      return chunksCall(args, node, at);
    case "collect":
    case "lines":
    case "collector":
      mayThrow(at);
      return UNKNOWN;
  }
  return undefined;
}

/** A function that uses a block and gives it back. */
function withBlock(
  args: readonly Value[],
  index: number,
  node: Deno.lint.CallExpression,
  at: At,
  result: (leases: readonly Lease[]) => Value,
): Value | undefined {
  const block = args[index];
  if (block?.kind === "acquiring") {
    reportNotAwaited(block, node.arguments[index]!, at);
    return promiseOf(UNKNOWN);
  }
  if (block?.kind !== "block") return undefined;
  for (const { origin } of block.leases) origin.isBlock = true;
  const name = `\`${nameOf(block.leases[0]!)}\``;
  checkUse(block.leases, name, node.arguments[index]!, at);
  touch(block.leases, node, at);
  mayThrow(at);
  for (const each of args) if (each !== block) escape(each, at);
  return result(block.leases);
}

/** `chunks(source, pool)`: a block that lasts for one step of the loop over it. */
function chunksCall(
  args: readonly Value[],
  node: Deno.lint.CallExpression,
  at: At,
): Value | undefined {
  const second = node.arguments[1];
  if (second === undefined || second.type === "SpreadElement") return undefined;
  const origin = poolOf(args[1] ?? UNKNOWN, second, at);
  if (origin === undefined && !at.file.importsSmriti) return undefined;
  mayThrow(at);
  const lease = at.file.leaseAt(node, () => ({
    origin: origin ?? at.file.originOf(`chunks ${at.file.idOf(node)}`, () => ({
      name: "chunks",
      sure: true,
      sized: false,
    })),
    owner: "step",
    many: false,
  }));
  return { kind: "chunks", lease, call: node };
}

/** The pool that an expression makes. */
export function newPool(path: string, node: Call, at: At): Value {
  const sized = path.endsWith("SizeClassPool");
  const key = `made ${at.file.idOf(node)}`;
  return {
    kind: "pool",
    origin: at.file.originOf(key, () => ({ name: "pool", sure: true, sized })),
  };
}

/** Static functions of `SharedBlockPool`. */
function madePool(path: string, node: Call, at: At): Value | undefined {
  const [type = "", maker = ""] = path.split(".");
  if (!POOL_CLASSES.has(type) || !POOL_MAKERS.has(maker)) {
    return undefined;
  }
  const pool = newPool(type, node, at);
  return maker === "join" ? promiseOf(pool) : pool;
}
