/**
 * The life of a lease on the walk: begun, used, lent to an operation, ended, or left behind.
 *
 * The only file that reports `release`, `no-use-after-release`, `lend-io`, `lend-return`, `race` and
 * kept views; what counts as each is decided here and nowhere else.
 */
import { awaitFix, usingFix } from "./fixes.ts";
import * as words from "./messages.ts";
import type { Scope } from "./scope.ts";
import type { End, Place, Status } from "./state.ts";
import { HELD } from "./state.ts";
import type { Argument, Call, Node } from "./syntax.ts";
import { lastName } from "./syntax.ts";
import { parentOf } from "./tree.ts";
import type { Lease, Operation, Origin, Value } from "./values.ts";
import { blocksIn, leasesIn, viewsIn } from "./values.ts";
import type { At, Frame, Jump } from "./walk.ts";
import { coverOf, mayThrow, touch } from "./walk.ts";

/** What to call the block of a lease. */
export function nameOf(lease: Lease): string {
  return lease.name || (lease.many ? "blocks" : "block");
}

/** Takes a block that the caller lends for held, from the beginning of the function on. */
export function take(value: Value, at: At): void {
  for (const lease of blocksIn(value)) {
    if (lease.owner !== "caller" || lease.isVague) continue;
    renew(lease, HELD, at);
  }
}

/** The same place again is another lease. */
export function renew(lease: Lease, status: Status, at: At): void {
  at.state.leases.set(lease, status);
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    frame.endedBefore?.delete(lease);
  }
}

/** Begins a lease. */
export function begin(lease: Lease, at: At): void {
  const { is } = at.state.leases.get(lease) ?? {};
  // The same place again, and what it gave before is still held: that is another one now.
  if (is !== undefined && is !== "ended" && is !== "nothing") {
    at.state.part(lease, at.file.twinOf(lease));
  }
  lease.frame = at.frame;
  renew(lease, HELD, at);
  at.frame.fresh = [...at.frame.fresh, lease];
}

/** A lease that has begun and is not for a variable. */
export function keep(lease: Lease, at: At): void {
  at.frame.fresh = at.frame.fresh.filter((each) => each !== lease);
}

/**
 * Reports a wait for a block while another of the same pool is held. Blocks that have escaped
 * are not counted.
 */
export function checkDeadlock(
  origin: Origin,
  call: Call,
  own: Lease,
  at: At,
): void {
  if (origin.key === undefined) return;
  for (const lease of at.state.leases.keys()) {
    const { is } = at.state.status(lease);
    if (lease.origin !== origin || lease.owner === "step") continue;
    if (lease.array !== undefined || !isOfThisFunction(lease, at)) continue;
    if (lease === own) {
      if (is !== "kept" && (is !== "held" || isReplaced(call))) continue;
      at.file.report("acquire-many", call, words.holdsMore(), [lease]);
      return;
    }
    if (is !== "held" && is !== "kept") continue;
    if (origin.sized && !sameSize(call, lease.site, at)) continue;
    const line = at.file.lineOf(lease.site);
    const said = words.holdsOne(nameOf(lease), line, origin.sized);
    at.file.report("acquire-many", call, said, [lease]);
    return;
  }
}

/** Whether what is acquired takes the place of something: `block = await pool.acquire()`. */
function isReplaced(call: Call): boolean {
  const parent = parentOf(call);
  return parent?.type === "AwaitExpression" &&
    parentOf(parent)?.type === "AssignmentExpression";
}

/** Whether a lease began in this function, or in one that calls it at once. */
function isOfThisFunction(lease: Lease, at: At): boolean {
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    if (lease.frame === frame) return true;
    if (frame.endedBefore !== undefined) return false;
  }
  return false;
}

/** Whether two acquires of a `SizeClassPool` certainly ask for the same class. */
export function sameSize(a: Node, b: Node, at: At): boolean {
  const [first, second] = [a, b].map((node) =>
    node.type === "CallExpression" && node.arguments.length > 0
      ? at.file.textOf(node.arguments[0]!)
      : undefined
  );
  return first !== undefined && first === second;
}

/** Reports what needs a lease that has ended. Returns whether it did. */
export function checkUse(
  leases: readonly Lease[],
  what: string,
  node: Node,
  at: At,
): boolean {
  touch(leases, node, at);
  if (leases.length === 0 || endedBeforeCall(leases, at)) return false;
  const all = leases.map((lease) => at.state.status(lease));
  const { is, end } = all[0]!;
  if (end === undefined) return false;
  const line = at.file.lineOf(end.node);
  if (at.state.haveEnded(leases)) {
    const said = words.usedAfter(what, end, line);
    at.file.report("no-use-after-release", node, said, leases);
    return true;
  }
  if (leases.length > 1 || is !== "maybe") return false;
  at.file.report(
    "no-use-after-release",
    node,
    words.maybeUsedAfter(what, line),
    leases,
  );
  return true;
}

/** Whether a function in sight was called with what had ended: then the call is reported. */
function endedBeforeCall(leases: readonly Lease[], at: At): boolean {
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    const { endedBefore } = frame;
    if (endedBefore && leases.every((lease) => endedBefore.has(lease))) {
      return true;
    }
  }
  return false;
}

/** Ends a lease by a call. */
export function endBy(
  how: "release" | "detach" | "abandon",
  leases: readonly Lease[],
  method: string,
  node: Node,
  at: At,
): void {
  const { end, is } = at.state.status(leases[0]!);
  // Disposing twice does nothing, and neither does whatever follows `abandon()`.
  const isForgiven = method === "@dispose" ||
    end?.how === "abandon" && (how === "release" || how === "abandon");
  if (!isForgiven) {
    const name = nameOf(leases[0]!);
    checkUse(leases, `\`${name}\``, node, at);
  }
  if (is === "ended" && isForgiven) return;
  for (const lease of leases) {
    // An array of which one has ended is neither held nor ended as a whole.
    if (lease.array !== undefined) at.state.letGo(lease.array);
    endOf(lease, { how, node }, at);
  }
  mayThrow(at);
}

/** Ends a lease: what is under way on it, and what still has its bytes, is reported. */
export function endOf(lease: Lease, end: End, at: At): void {
  const { state } = at;
  touch([lease], end.node, at);
  for (const each of state.pending) {
    if (each.lease !== lease) continue;
    state.pending.delete(each);
    reportUnfinished(each, at);
  }
  for (const each of state.stored) {
    if (each.lease !== lease || !each.outlives) continue;
    state.stored.delete(each);
    reportKept(each.node, each.isBlock, lease, end, at);
  }
  if (!lease.isVague) state.leases.set(lease, { is: "ended", end });
}

/** Reports that a view or block stays where it was put when its lease ends. */
export function reportKept(
  node: Node,
  isBlock: boolean,
  lease: Lease,
  end: End,
  at: At,
): void {
  const line = at.file.lineOf(end.node);
  const name = nameOf(lease);
  at.file.kept.add(lease);
  if (isBlock) {
    const said = words.outlived(`\`${name}\``, end, line);
    at.file.report("no-use-after-release", node, said, [lease]);
    return;
  }
  const what = end.how === "step"
    ? "a view of this step"
    : `a view of \`${name}\``;
  at.file.report("no-queue", node, words.kept(what, end, line), [lease]);
}

/** Starts an operation on every lease of which the arguments have a view. */
export function startOperation(
  call: Node,
  { api, fate, rule = "lend-io" }: {
    api: string;
    fate: Operation["fate"];
    rule?: "lend-io" | "no-queue" | undefined;
  },
  leases: readonly Lease[],
  receiver: string | undefined,
  at: At,
): Operation[] {
  touch(leases, call, at, true);
  return leases.map((lease) => {
    const isCovered = coverOf(lease, at) !== undefined;
    const operation = at.file.operationAt(call, lease, fate, () => ({
      rule: isCovered
        ? "lend-return"
        : fate === "deferred" || fate === "event"
        ? "no-use-after-release"
        : rule,
      api,
      receiver,
    }));
    at.state.pending.add(operation);
    return operation;
  });
}

/** Reports an operation that was still under way when its lease ended. */
function reportUnfinished(operation: Operation, at: At): void {
  const { lease, site, raced, rule, api } = operation;
  const name = nameOf(lease);
  if (raced !== undefined) {
    if (operation.isAwaited) return;
    at.file.report("race", raced, words.raced(api, name), [lease]);
    return;
  }
  if (rule === "lend-return") {
    const by = lease.owner === "use" ? "use" : "lend";
    const fix = awaitFix(site, at.file);
    at.file.report(rule, site, words.notReturned(api, by), [lease], fix);
    return;
  }
  const said = words.unfinished(
    operation,
    name,
    `${calleeText(site, at)}(bytes)`,
  );
  const fix = operation.fate === "promise"
    ? awaitFix(site, at.file)
    : undefined;
  at.file.report(rule, site, said, [lease], fix);
}

function calleeText(site: Node, at: At): string {
  if (site.type !== "CallExpression") return "…";
  const text = at.file.textOf(site.callee);
  return /\s/.test(text) ? `….${lastName(site.callee)}` : text;
}

/** Reports blocks that began in a statement and were bound to nothing in it. */
export function checkFresh(at: At): void {
  if (at.frame.fresh.length === 0) return;
  for (const lease of at.frame.fresh) {
    const { is } = at.state.status(lease);
    if (
      is === "held" && lease.owner === "function" &&
      !isHeldBy(lease, at)
    ) {
      at.state.leases.delete(lease);
      if (lease.isCaught) continue;
      at.file.report("release", lease.site, words.dropped(), [lease]);
    }
  }
  at.frame.fresh = [];
}

/** A block bound by `using` ends with the block of statements that binds it. */
export function markUsing(value: Value): void {
  for (const lease of blocksIn(value)) lease.isUsing = true;
}

/** Reports a block whose only variable is given something else. */
export function checkOverwritten(
  place: Place,
  value: Value,
  node: Node,
  at: At,
): void {
  const old = at.state.vars.get(place);
  if (old?.kind !== "block" || old.leases.length !== 1) return;
  const lease = old.leases[0]!;
  const isLost = at.state.status(lease).is === "held" && !lease.isUsing &&
    lease.owner === "function" && lease.frame === at.frame &&
    lease.array === undefined;
  if (!isLost || blocksIn(value).includes(lease)) return;
  at.state.vars.delete(place);
  if (isHeldBy(lease, at, undefined)) return;
  at.state.leases.delete(lease);
  const way = `before line ${
    at.file.lineOf(node)
  } gives its variable another value`;
  at.file.report("release", lease.site, words.leaked(nameOf(lease), way), [
    lease,
  ]);
}

/** Ends what the `using`s of a scope hold, and reports blocks that only its names hold. */
export function leaveScope(scope: Scope, at: At, jump: Jump | undefined): void {
  const { state } = at;
  if (state.dead) return;
  const { bindings } = scope;
  for (let i = bindings.length - 1; i >= 0; i--) {
    const binding = bindings[i]!;
    if (binding.kind !== "using") continue;
    const value = state.vars.get(binding);
    if (value === undefined) continue;
    for (const lease of blocksIn(value)) {
      const { is } = state.status(lease);
      if (is === "ended" || is === "nothing" || !state.leases.has(lease)) {
        continue;
      }
      endOf(lease, { how: "using", node: binding.ident }, at);
    }
  }
  if (state.leases.size > 0) checkLeft(scope, at, jump);
  if (state.vars.size === 0) return;
  for (const binding of bindings) state.vars.delete(binding);
}

/** Reports blocks that only the names of a scope hold. */
function checkLeft(scope: Scope, at: At, jump: Jump | undefined): void {
  const { state, file } = at;
  for (const lease of state.leases.keys()) {
    if (lease.array !== undefined || lease.owner !== "function") continue;
    if (lease.frame !== at.frame || !isOpen(state.status(lease))) continue;
    if (lease.isUsing || isHeldBy(lease, at, scope)) continue;
    state.leases.delete(lease);
    if (isShared(lease, scope, at)) continue;
    const said = words.leaked(
      nameOf(lease),
      wayOf(jump, file.lineOf.bind(file)),
    );
    file.report("release", lease.site, said, [lease], usingFix(lease, file));
  }
}

/** Whether a lease with this status is lost when its scope is left. */
function isOpen({ is }: Status): boolean {
  return is === "held" || is === "perhaps" || is === "maybe" || is === "open";
}

/** Whether a variable has the block, one of the scope that is left aside. */
export function isHeldBy(lease: Lease, at: At, leaving?: Scope): boolean {
  for (const place of at.state.vars.keys()) {
    if (typeof place !== "string" && place.scope === leaving) continue;
    if (blocksIn(at.state.vars.get(place)!).includes(lease)) return true;
  }
  return false;
}

/** A block at the top of a file that functions of the file use lives as long as the process. */
function isShared(lease: Lease, scope: Scope, { file, frame }: At): boolean {
  if (frame.node.type !== "Program" || scope.parent?.parent !== undefined) {
    return false;
  }
  if (lease.declaration?.parent?.type === "ExportNamedDeclaration") return true;
  const name = new RegExp(`\\b${lease.name.replaceAll("$", "\\$")}\\b`);
  return lease.name === "" ||
    file.tasks.some(({ node }) => name.test(file.textOf(node)));
}

function wayOf(jump: Jump | undefined, lineOf: (node: Node) => number): string {
  if (jump === undefined) return "by the end of its block";
  const line = lineOf(jump.node);
  switch (jump.kind) {
    case "return":
      return `when line ${line} returns`;
    case "throw":
      return `when line ${line} throws`;
    case "break":
      return `when line ${line} leaves the loop`;
    case "continue":
      return `when line ${line} goes on with the loop`;
  }
}

/** Reports blocks and views that leave a function whose end is the end of their lease. */
export function checkGivenOut(value: Value, node: Node, at: At): void {
  for (const lease of new Set(leasesIn(value))) {
    const { is, end } = at.state.status(lease);
    if (is !== "ended" || end === undefined) continue;
    if (at.file.kept.has(lease) || endedBeforeCall([lease], at)) continue;
    const name = nameOf(lease);
    const what = viewsIn(value).includes(lease)
      ? `A view of \`${name}\``
      : `\`${name}\``;
    const said = words.outlived(what, end, at.file.lineOf(end.node));
    at.file.report("no-use-after-release", node, said, [lease]);
  }
}

/** Reports operations of a `lend` or `use` that go on when its function is over. */
export function checkCovered(lease: Lease, at: At): void {
  for (const each of at.state.pending) {
    if (
      each.lease !== lease ||
      each.rule !== "lend-return" && each.raced === undefined
    ) {
      continue;
    }
    at.state.pending.delete(each);
    reportUnfinished(each, at);
  }
}

/** Reports operations on blocks of the caller that are not awaited. */
export function checkFloating(at: At): void {
  for (const each of at.state.pending) {
    const { fate, lease } = each;
    if (lease.owner !== "caller" || fate !== "promise") continue;
    at.state.pending.delete(each);
    reportUnfinished(each, at);
  }
}

/** A place, forgotten: what was stored there is not there any more. */
export function clearPlace(place: Place, at: At): void {
  for (const each of at.state.stored) {
    if (each.place === place) at.state.stored.delete(each);
  }
}

/** Whether an argument is there and no spread. */
export function isPlain(
  argument: Argument | undefined,
): argument is Deno.lint.Expression {
  return argument !== undefined && argument.type !== "SpreadElement";
}
