/**
 * Calls: what is called decides what happens to the leases and operations in the arguments.
 *
 * Dispatches by the callee: pools and blocks to `blocks.ts`, promises to `promises.ts`,
 * containers to `containers.ts`, the table of APIs to `sinks.ts`, functions in sight to
 * `functions.ts`. Any other callee is opaque: its arguments escape.
 */
import {
  DEFERRED,
  fateOfFunction,
  fateOfMethod,
  isListening,
  onlyLooks,
  receiverMadeBy,
  receiverNamed,
  RECEIVERS,
} from "./apis.ts";
import {
  blockCall,
  blocksCall,
  isPoolMethod,
  newPool,
  poolCall,
  smritiCall,
} from "./blocks.ts";
import {
  callInPlace,
  defer,
  escape,
  mentionsLease,
  outlive,
  runsLater,
} from "./closures.ts";
import { containerCall, eachOf } from "./containers.ts";
import { functionScope, isAwaited } from "./functions.ts";
import { checkUse, nameOf } from "./leases.ts";
import { asText, memberOf } from "./members.ts";
import { moduleMember, moduleOf } from "./modules.ts";
import { baseOf, isPoolPath, poolOf } from "./origins.ts";
import { chain, combine, promised, settleReceivers } from "./promises.ts";
import { give, sink } from "./sinks.ts";
import { POOL_CLASSES, VIEW_METHODS } from "./smriti_api.ts";
import type { Argument, Call, Expression } from "./syntax.ts";
import { bare, lastName, memberName, stringOf } from "./syntax.ts";
import { parentOf } from "./tree.ts";
import type { Value } from "./values.ts";
import {
  awaited,
  blocksIn,
  FOREIGN,
  leasesIn,
  listOf,
  operationsOf,
  promiseOf,
  UNKNOWN,
  viewOf,
} from "./values.ts";
import type { At, FunctionValue } from "./walk.ts";
import { evaluate, mayThrow, settle } from "./walk.ts";

/** Methods that call their argument at once, for each element. */
const ITERATES = new Set([
  "forEach",
  "map",
  "filter",
  "some",
  "every",
  "find",
  "findIndex",
  "flatMap",
  "reduce",
]);
/** Calls that never return. */
const EXITS = /^(Deno|process|node:process(\.default)?)\.exit$/;
/** What a function has that gives a block or a pool. */
const GIVES =
  /\b(acquire\w*|tryAcquire|adopt\w*|BlockPool|SizeClassPool|SharedBlockPool)\b/;

/** What a function has that makes a pool. */
const MAKES_POOL = /\bnew\s|\.(create|attach|join)\(/;

/** What a call gives. */
export function callExpression(node: Deno.lint.CallExpression, at: At): Value {
  const callee = bare(node.callee);
  if (callee.type === "MemberExpression") {
    const object = evaluate(callee.object, at);
    const name = memberName(callee);
    if (callee.computed && name === undefined) {
      evaluate(callee.property as Expression, at);
    }
    const args = evaluateAll(node.arguments, at);
    return methodCall(node, callee, object, name ?? "[]", args, at);
  }
  if (callee.type === "Super") {
    for (const each of evaluateAll(node.arguments, at)) escape(each, at);
    return UNKNOWN;
  }
  const value = evaluate(callee, at, true);
  const args = evaluateAll(node.arguments, at);
  switch (value.kind) {
    case "function":
      return callFunction(value, args, node, at);
    case "api":
      return pathCall(value.path, value.promisified, args, node, at);
    case "foreign":
      outOfSight(args, node, lastName(callee) ?? "", at);
      return FOREIGN;
  }
  return outOfSight(args, node, lastName(callee) ?? "", at);
}

/** What arguments give, in their order. A spread gives what is in it, if that is known. */
export function evaluateAll(nodes: readonly Argument[], at: At): Value[] {
  return nodes.map((node) => {
    if (node?.type !== "SpreadElement") return evaluate(node, at);
    const value = evaluate(node.argument, at);
    asText(node.argument, value, "a spread", at);
    return value.kind === "view" ? UNKNOWN : value;
  });
}

function methodCall(
  node: Deno.lint.CallExpression,
  callee: Deno.lint.MemberExpression,
  object: Value,
  method: string,
  args: readonly Value[],
  at: At,
): Value {
  const origin = isPoolMethod(method, args) &&
    poolOf(object, callee.object, at);
  if (origin) return poolCall(origin, method, args, node, at);
  switch (object.kind) {
    case "block":
      return blockCall(object, method, args, node, at);
    case "blocks":
      return iterate(node, method, object, args, at) ??
        blocksCall(object, method, args, node, at);
    case "acquiring":
    case "promise":
      if (/^(then|catch|finally)$/.test(method)) {
        return chain(object, method, args, at);
      }
      memberOf(object, method, callee, at);
      break;
    case "view":
      for (const each of args) {
        if (each.kind === "function") callInPlace(each, [], at);
      }
      return VIEW_METHODS.has(method) ? viewOf(object.leases) : UNKNOWN;
    case "list":
    case "thing":
    case "unknown":
    case "nothing": {
      const known =
        containerCall(node, callee.object, method, object, args, at) ??
          iterate(node, method, object, args, at);
      if (known !== undefined) return known;
      break;
    }
    case "api":
      return pathCall(`${object.path}.${method}`, false, args, node, at, {
        callee,
        object,
      });
    case "self":
    case "record": {
      const fn = memberOf(object, method, callee, at);
      if (fn.kind === "function") return callFunction(fn, args, node, at);
      break;
    }
  }
  return receiverCall(node, callee, object, method, args, at);
}

/** A method of an object of the table, by what it is or by what it is called. */
function receiverCall(
  node: Deno.lint.CallExpression,
  callee: Deno.lint.MemberExpression,
  object: Value,
  method: string,
  args: readonly Value[],
  at: At,
): Value {
  const name = lastName(callee.object) ?? "";
  const [, listener] = args;
  if (listener?.kind === "function" && isListening(name, method)) {
    outlive(listener, "event", at);
    return UNKNOWN;
  }
  const isOpen = object.kind === "unknown" || object.kind === "nothing" ||
    object.kind === "api";
  const type = object.kind === "thing"
    ? object.type
    : object.kind === "self"
    ? receiverMadeBy(baseOf(object.node, at) ?? "")
    : isOpen
    ? receiverNamed(name, method)
    : undefined;
  const made = madeBy(object, method, args);
  if (made !== undefined) return made;
  if (type === "identity writer" && method === "write") {
    return sink(node, args, { api: "writer.write", fate: "queues" }, at);
  }
  const fate = type === undefined ? undefined : fateOfMethod(type, method);
  if (type !== undefined && fate !== undefined) {
    return sink(node, args, {
      api: `${name}.${method}`,
      fate,
      rule: RECEIVERS[type]!.rule,
      returns: RECEIVERS[type]!.returns?.[method],
      receiver: at.file.textOf(callee.object),
    }, at);
  }
  const value = outOfSight(args, node, method, at);
  return object.kind === "foreign" ? FOREIGN : value;
}

/** Objects of the table that other objects give. */
function madeBy(
  object: Value,
  method: string,
  args: readonly Value[],
): Value | undefined {
  const type = object.kind === "thing" ? object.type : "";
  if (method === "getWriter") {
    return {
      kind: "thing",
      type: type === "identity writable"
        ? "identity writer"
        : "WritableStreamDefaultWriter",
    };
  }
  if (method === "getReader") {
    return args.length > 0
      ? { kind: "thing", type: "ReadableStreamBYOBReader" }
      : UNKNOWN;
  }
  if (method === "accept" && type === "listener") {
    return promiseOf({ kind: "thing", type: "conn" });
  }
  return undefined;
}

/** A call of a global, or of what a module of the runtime or of this package has. */
function pathCall(
  path: string,
  promisified: boolean,
  args: readonly Value[],
  node: Deno.lint.CallExpression,
  at: At,
  method?: {
    readonly callee: Deno.lint.MemberExpression;
    readonly object: Value;
  },
): Value {
  if (path.startsWith("smriti.")) {
    const known = smritiCall(path.slice("smriti.".length), args, node, at);
    if (known !== undefined) return known;
    return outOfSight(args, node, path, at);
  }
  const combined = combine(path, args, node, at);
  if (combined !== undefined) return combined;
  if (EXITS.test(path)) {
    at.state.dead = true;
    return UNKNOWN;
  }
  if (DEFERRED.has(path)) {
    const [fn] = args;
    return fn?.kind === "function"
      ? promiseOf(UNKNOWN, defer(fn, node, at))
      : UNKNOWN;
  }
  switch (path) {
    case "clearTimeout":
    case "clearInterval":
    case "clearImmediate":
      settle(args.flatMap(operationsOf), at);
      return UNKNOWN;
    case "require": {
      const specifier = stringOf(node.arguments[0]) ?? "";
      return moduleMember(moduleOf(specifier), specifier, []);
    }
    case "node:util.promisify":
      return args[0]?.kind === "api"
        ? { ...args[0], promisified: true }
        : UNKNOWN;
    case "Array.from":
      if (args[1]?.kind === "function") {
        return iterate(node, "map", args[0], args.slice(1), at) ?? UNKNOWN;
      }
      if (args[0]?.kind === "list") return args[0];
      break;
    case "Array.fromAsync":
      return promiseOf(sink(node, args, { api: path, fate: "queues" }, at));
    case "Array.of":
      return listOf(args);
    case "Deno.upgradeWebSocket":
      return { kind: "thing", type: "websocket upgrade" };
    case "Deno.listen":
    case "Deno.listenTls":
      return { kind: "thing", type: "listener" };
    case "node:net.createServer":
    case "node:tls.createServer":
      tellParams(args, [{ kind: "thing", type: "net.Socket" }], at);
      break;
    case "node:http.createServer":
    case "node:https.createServer":
      tellParams(
        args,
        [UNKNOWN, { kind: "thing", type: "http.ServerResponse" }],
        at,
      );
      break;
    case "node:child_process.spawn":
      return {
        kind: "record",
        members: new Map([["stdin", { kind: "thing", type: "child.stdin" }]]),
      };
    case "node:events.once":
    case "node:stream.finished":
    case "node:stream/promises.finished":
      if (isAwaited(node)) settleReceivers(node.arguments, at);
      return outOfSight(args, node, path, at);
  }
  const maker = receiverMadeBy(path);
  if (maker !== undefined && !POOL_CLASSES.has(path)) {
    outOfSight(args, node, path, at);
    return { kind: "thing", type: maker };
  }
  const fate = fateOfFunction(path);
  if (fate !== undefined) {
    return sink(node, args, { api: shortOf(path), fate, promisified }, at);
  }
  if (onlyLooks(path)) {
    looksAt(args, at);
    return UNKNOWN;
  }
  if (method !== undefined) {
    const { callee, object } = method;
    const name = memberName(callee) ?? "[]";
    return containerCall(node, callee.object, name, UNKNOWN, args, at) ??
      iterate(node, name, UNKNOWN, args, at) ??
      receiverCall(node, callee, object, name, args, at);
  }
  if (isAwaited(node)) settleReceivers(node.arguments, at);
  return outOfSight(args, node, path, at);
}

/** Says what the parameters of a listener are, to it and to the functions in it. */
function tellParams(
  args: readonly Value[],
  params: readonly Value[],
  at: At,
): void {
  for (const fn of args) {
    if (fn.kind !== "function") continue;
    const scope = functionScope(fn.node, fn.scope, at.file);
    at.file.given.set(fn.node, params);
    fn.node.params.forEach((param, i) => {
      const binding = param?.type === "Identifier" && params[i] !== undefined
        ? scope.lookup(param.name)
        : undefined;
      if (binding) at.file.values.set(binding, params[i]!);
    });
  }
}

/** `node:crypto.scrypt` as code has it. */
function shortOf(path: string): string {
  return path.replace(/^node:/, "").replace("fs/promises.", "fs.promises.");
}

/** Calls the function for an element; `undefined` if the method does nothing of the kind. */
function iterate(
  node: Call,
  method: string,
  list: Value | undefined,
  args: readonly Value[],
  at: At,
): Value | undefined {
  const [fn] = args;
  if (!ITERATES.has(method) || fn?.kind !== "function") return undefined;
  const loop = eachOf(list ?? UNKNOWN, node, at);
  const element = loop.begin(at);
  const params = method === "reduce" ? [UNKNOWN, element] : [element];
  const called = callInPlace(fn, params, at);
  mayThrow(at);
  if (called === undefined) {
    escape(fn, at);
    return UNKNOWN;
  }
  loop.end(at);
  if (method === "map" || method === "flatMap") {
    return listOf([called.value], true);
  }
  return method === "find" ? element : method === "filter" ? list : UNKNOWN;
}

/** A function of this file: walked in place if anything of ours is in it. */
function callFunction(
  fn: FunctionValue,
  args: readonly Value[],
  node: Deno.lint.CallExpression,
  at: At,
): Value {
  if (fn.node.generator) return { kind: "generator", fn, args };
  const isDropped = parentOf(node)?.type === "ExpressionStatement";
  const isOfInterest = args.some((each) => isOurs(each, at)) ||
    mentionsLease(fn, at) ||
    !isDropped && at.file.isOfInterest(fn.node, GIVES);
  if (!isOfInterest) return UNKNOWN;
  mayThrow(at);
  const before = new Map(at.state.leases);
  const endedBefore = new Set(
    [...before].flatMap(([lease, { is }]) => is === "ended" ? [lease] : []),
  );
  const called = callInPlace(fn, args, at, { call: node, endedBefore });
  if (called === undefined) {
    return outOfSight(args, node, lastName(node.callee) ?? "", at);
  }
  for (const lease of called.frame.touched.keys()) {
    if (!endedBefore.has(lease)) continue;
    const index = args.findIndex((each) => leasesIn(each).includes(lease));
    const place = node.arguments[index] ?? node;
    checkUse([lease], `\`${nameOf(lease)}\``, place, at);
  }
  const made = awaited(called.value);
  if (made.kind === "pool" && MAKES_POOL.test(at.file.textOf(fn.node))) {
    // Another call may make another one.
    const { name, sure, sized } = made.origin;
    const key = `called ${at.file.idOf(node)}`;
    const origin = at.file.originOf(key, () => ({ name, sure, sized }));
    const pool: Value = { kind: "pool", origin };
    return fn.node.async ? promiseOf(pool) : pool;
  }
  if (fn.node.async && !isAwaited(node)) {
    // The time at which an unawaited async function ends a lease is not known.
    for (const [lease, { is }] of before) {
      if (is !== "ended" && at.state.status(lease).is === "ended") {
        at.state.letGo(lease);
      }
    }
  }
  return called.value;
}

function isOurs(value: Value, at: At): boolean {
  if (value.kind === "function") return mentionsLease(value, at);
  return value.kind === "acquiring" || leasesIn(value).length > 0 ||
    operationsOf(value).length > 0;
}

/** A call of an opaque function: it may use, keep or end what its arguments hold. */
function outOfSight(
  args: readonly Value[],
  node: Call,
  name: string,
  at: At,
): Value {
  mayThrow(at);
  if (onlyLooks(name)) {
    looksAt(args, at);
    return UNKNOWN;
  }
  args.forEach((each, i) => {
    if (each.kind === "block" && at.state.haveEnded(each.leases)) {
      const argument = node.arguments[i]!;
      checkUse(each.leases, `\`${nameOf(each.leases[0]!)}\``, argument, at);
    }
    escape(each, at);
  });
  return UNKNOWN;
}

/** Arguments of a function that only reads, such as `assert`: they do not escape. */
function looksAt(args: readonly Value[], at: At): void {
  for (const each of args) {
    if (each.kind === "function") runsLater(each, [], at);
    for (const lease of blocksIn(each)) {
      if (at.frame.fresh.includes(lease)) at.state.letGo(lease);
    }
  }
}

/** The functions of a stream escape. All but `start` are called when others run. */
function escapeSource(source: Value, at: At): void {
  if (source.kind !== "record") return escape(source, at);
  for (const [name, each] of source.members) {
    if (each.kind !== "function" || name === "start") escape(each, at);
    else outlive(each, "event", at);
  }
}

/** What `new` gives. */
export function newExpression(node: Deno.lint.NewExpression, at: At): Value {
  const callee = bare(node.callee);
  const value = evaluate(callee, at, true);
  const args = evaluateAll(node.arguments, at);
  if (value.kind === "class") {
    const { superClass } = value.node;
    const base = superClass
      ? evaluate(superClass, { ...at, scope: value.scope }, true)
      : UNKNOWN;
    if (base.kind === "api" && isPoolPath(base.path)) {
      return newPool(base.path, node, at);
    }
    outOfSight(args, node, "", at);
    return FOREIGN;
  }
  if (value.kind !== "api") {
    outOfSight(args, node, "", at);
    return value.kind === "foreign" || callee.type === "Identifier"
      ? FOREIGN
      : UNKNOWN;
  }
  const { path } = value;
  if (isPoolPath(path)) return newPool(path, node, at);
  switch (path) {
    case "Promise":
      return promised(args, at);
    case "Map":
    case "Set":
    case "WeakMap":
    case "WeakSet":
      for (const each of args) escape(each, at);
      return { kind: "thing", type: path.replace("WeakSet", "Set") };
    case "Array":
      return listOf([], true);
    case "ReadableStream":
    case "TransformStream":
    case "WritableStream":
      give(args[0], at);
      for (const each of args) escapeSource(each, at);
      return path === "TransformStream" && args.length === 0
        ? { kind: "thing", type: "TransformStream" }
        : UNKNOWN;
  }
  const maker = receiverMadeBy(path);
  if (maker !== undefined) {
    outOfSight(args, node, path, at);
    return { kind: "thing", type: maker };
  }
  const fate = fateOfFunction(path);
  if (fate !== undefined) {
    return sink(node, args, { api: `new ${path}`, fate }, at);
  }
  outOfSight(args, node, path, at);
  // `new Pool()` of a class that is not in sight is not a pool of blocks.
  return FOREIGN;
}
