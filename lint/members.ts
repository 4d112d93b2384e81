/**
 * What a member of a value is, and whether it may be asked for: `block.bytes`, `view.buffer`,
 * `chunk.bytes`, `blocks[0]`.
 */
import { receiverMadeBy } from "./apis.ts";
import { awaitAcquireFix, bytesFix } from "./fixes.ts";
import { begin, checkUse, isHeldBy, nameOf, renew } from "./leases.ts";
import * as words from "./messages.ts";
import { memberOfApi } from "./modules.ts";
import { descendant, fieldValue } from "./origins.ts";
import {
  BLOCK_MEMBERS,
  BYTES_MEMBERS,
  NEEDS_LEASE,
  TELLING_MEMBERS,
} from "./smriti_api.ts";
import type { Node } from "./syntax.ts";
import { functionAround } from "./syntax.ts";
import { parentOf } from "./tree.ts";
import type { Lease, Value } from "./values.ts";
import { anyOf, blockOf, union, UNKNOWN, viewOf } from "./values.ts";
import type { At } from "./walk.ts";

/**
 * The member of a value.
 *
 * @param name The member; a number or an unknown name as `[]`
 * @param node What asks for it
 */
export function memberOf(
  value: Value,
  name: string,
  node: Node,
  at: At,
): Value {
  switch (value.kind) {
    case "block":
      return memberOfBlock(value, name, node, at);
    case "blocks":
      if (name === "length") return UNKNOWN;
      if (name !== "[]" && !/^\d+$/.test(name)) return UNKNOWN;
      return isNameless(value.lease, at)
        ? blockOf(ownElement(value.lease, node, at))
        : elementOf(value.lease, name, node, at);
    case "chunk": {
      if (name !== "bytes" && name !== "head") return UNKNOWN;
      checkUse([value.lease], "A view of this loop", node, at);
      return viewOf([value.lease]);
    }
    case "view":
      return name === "buffer" ? viewOf(value.leases, true) : UNKNOWN;
    case "acquiring":
      checkAwaited(value, name, node, at);
      return UNKNOWN;
    case "record":
      return value.members.get(name) ?? UNKNOWN;
    case "list":
      return memberOfList(value, name, node, at);
    case "api": {
      const member = memberOfApi(value, name);
      const type = member.kind === "api"
        ? receiverMadeBy(member.path)
        : undefined;
      // `Deno.stdin` is an object, `Deno.open` makes one.
      return type !== undefined && /(stdin|stdout|stderr)$/.test(name)
        ? { kind: "thing", type }
        : member;
    }
    case "self": {
      const known = at.state.vars.get(`this.${name}`);
      return known ?? fieldValue(value.node, name, at);
    }
    case "thing":
      return memberOfThing(value.type, name);
  }
  return descendant(value);
}

function memberOfList(
  { items, many }: Value & { kind: "list" },
  name: string,
  node: Node,
  at: At,
): Value {
  if (name !== "[]" && !/^\d+$/.test(name)) return UNKNOWN;
  if (!many && name !== "[]") return items[Number(name)] ?? UNKNOWN;
  if (items.length === 0) return UNKNOWN;
  const any = items.reduce(union);
  // Which of several pools it is cannot be told.
  if (any.kind === "pool" && many) return anyOf(any);
  return any.kind === "block" ? elementOf(any.leases[0]!, name, node, at) : any;
}

/** Whether nothing but this expression has an array of blocks. */
function isNameless(array: Lease, at: At): boolean {
  return at.frame.fresh.includes(array) && !isHeldBy(array, at);
}

/** A block out of an array that is not kept: the array goes, the block has a lease of its own. */
function ownElement(array: Lease, node: Node, at: At): Lease {
  const { origin, owner } = array;
  const lease = at.file.leaseAt(node, () => ({ origin, owner, many: false }));
  at.state.leases.delete(array);
  begin(lease, at);
  return lease;
}

/** `blocks[0]` is one block, `blocks[i]` another one each time. */
function elementOf(array: Lease, name: string, node: Node, at: At): Value {
  const isFixed = name !== "[]";
  const key = isFixed ? `[${name}]` : `[${at.file.idOf(node)}]`;
  const element = at.file.elementOf(array, key);
  if (!isFixed) {
    element.name = at.file.textOf(node);
    renew(element, at.state.status(array), at);
  }
  return blockOf(element);
}

function memberOfBlock(
  value: Value & { kind: "block" },
  name: string,
  node: Node,
  at: At,
): Value {
  const { leases } = value;
  const called = nameOf(leases[0]!);
  if (NEEDS_LEASE.has(name)) {
    for (const { origin } of leases) {
      if (TELLING_MEMBERS.has(name)) origin.isBlock = true;
    }
    checkUse(leases, `\`${called}\``, node, at);
    return name === "bytes" ? viewOf(leases) : UNKNOWN;
  }
  if (BLOCK_MEMBERS.has(name)) return UNKNOWN;
  for (const { origin } of leases) {
    // Something else that has bytes, or anything else at all.
    if (!origin.sure && !origin.isBlock) origin.isOther = true;
  }
  if (name === "[]" || /^\d+$/.test(name) || BYTES_MEMBERS.has(name)) {
    const where = name === "[]" || /^\d+$/.test(name)
      ? "an index"
      : `\`${name}\``;
    const target = node.type === "MemberExpression" ? node.object : node;
    const fix = node.type === "MemberExpression" ? bytesFix(target) : undefined;
    const said = words.notBytes(called, where);
    at.file.report("no-block-as-bytes", target, said, leases, fix);
    return name === "subarray" || name === "buffer" ? viewOf(leases) : UNKNOWN;
  }
  return UNKNOWN;
}

/** A promise of a block has nothing that a block has. */
function checkAwaited(
  value: Value & { kind: "acquiring" },
  name: string,
  node: Node,
  at: At,
): void {
  const isBlock = BLOCK_MEMBERS.has(name) || BYTES_MEMBERS.has(name) ||
    name === "[]" || /^\d+$/.test(name);
  if (!isBlock) return;
  if (TELLING_MEMBERS.has(name)) value.lease.origin.isBlock = true;
  reportNotAwaited(value, node, at);
}

/**
 * Reports a promise that is used as a block: where it is made, or, if it is awaited somewhere else
 * in its function, where it is used.
 */
export function reportNotAwaited(
  value: Value & { kind: "acquiring" },
  node: Node,
  at: At,
): void {
  const { call, lease } = value;
  const text = at.file.textOf(call);
  const isAwaitedElsewhere = parentOf(call)?.type === "VariableDeclarator" &&
    awaitsName(lease.name, call, at);
  const place = isAwaitedElsewhere ? node : call;
  at.file.report(
    "await-acquire",
    place,
    words.notAwaited(/\n/.test(text) ? `${text.split("\n", 1)[0]}…` : text),
    [lease],
    isAwaitedElsewhere ? undefined : awaitAcquireFix(call, at.file),
  );
}

/** Whether the function around a node awaits something of this name. */
function awaitsName(name: string, node: Node, at: At): boolean {
  if (name === "") return false;
  const around = functionAround(node) ?? at.file.program;
  const awaits = new RegExp(
    `\\bawait\\s+${name.replaceAll("$", "\\$")}\\b(?!\\s*[.\\[])|\\b${
      name.replaceAll("$", "\\$")
    }\\s*\\.then\\(`,
  );
  return awaits.test(at.file.textOf(around));
}

function memberOfThing(type: string, name: string): Value {
  switch (`${type}.${name}`) {
    case "child.stdin":
      return { kind: "thing", type: "child.stdin" };
    case "websocket upgrade.socket":
      return { kind: "thing", type: "WebSocket" };
    case "TransformStream.writable":
      return { kind: "thing", type: "identity writable" };
  }
  return UNKNOWN;
}

/** Reports a block where its text, its number or its elements are asked for. */
export function asText(node: Node, value: Value, where: string, at: At): void {
  if (value.kind !== "block") return;
  const name = nameOf(value.leases[0]!);
  const said = words.notBytes(name, where);
  at.file.report("no-block-as-bytes", node, said, value.leases, bytesFix(node));
}
