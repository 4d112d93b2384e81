/**
 * Giving values to names: declarations, destructuring, parameters and assignments.
 */
import { escape, outlive } from "./closures.ts";
import { put, store } from "./containers.ts";
import {
  begin,
  checkOverwritten,
  clearPlace,
  isHeldBy,
  markUsing,
  take,
} from "./leases.ts";
import { memberOf, reportNotAwaited } from "./members.ts";
import { isPoolName, namedPool, untypedParam } from "./origins.ts";
import type { Binding, BindingKind } from "./scope.ts";
import type { Place } from "./state.ts";
import type { Expression, Node } from "./syntax.ts";
import { bare, isNumber, keyName, memberName, rootOf } from "./syntax.ts";
import { borrowed, typedValue } from "./types.ts";
import type { Value } from "./values.ts";
import { blockOf, blocksIn, NOTHING, union, UNKNOWN } from "./values.ts";
import type { At } from "./walk.ts";
import { evaluate, isOuter } from "./walk.ts";

/**
 * Gives the names of a pattern their values.
 *
 * @param value What is destructured; `undefined` for a parameter whose caller is not known
 */
export function declarePattern(
  pattern: Node | null | undefined,
  value: Value | undefined,
  at: At,
): void {
  switch (pattern?.type) {
    case "Identifier":
      return declareName(pattern, value, at);
    case "AssignmentPattern": {
      const given = evaluate(pattern.right, at);
      if (value === undefined) {
        const ident = pattern.left;
        const isTyped = ident?.type === "Identifier" && ident.typeAnnotation;
        return declarePattern(ident, isTyped ? undefined : given, at);
      }
      return declarePattern(pattern.left, union(value, given), at);
    }
    case "TSParameterProperty":
      return declarePattern(pattern.parameter, value, at);
    case "RestElement":
      return declarePattern(pattern.argument, UNKNOWN, at);
    case "ObjectPattern":
      return declareMembers(pattern, value, at);
    case "ArrayPattern":
      return declareElements(pattern, value ?? UNKNOWN, at);
    case "MemberExpression":
      return assign(pattern, value ?? UNKNOWN, at);
  }
}

function declareName(
  ident: Deno.lint.Identifier,
  value: Value | undefined,
  at: At,
): void {
  const binding = at.scope.lookup(ident.name);
  if (binding === undefined) return escape(value ?? UNKNOWN, at);
  const typed = typedValue(at.file, at.scope, ident.typeAnnotation, ident.name);
  if (value === undefined) {
    const given = typed ?? untypedParam(ident, at);
    take(given, at);
    setPlace(binding, given, ident, at);
    return;
  }
  const isTyped = typed !== undefined &&
    (typed.kind === "pool" || value.kind === "unknown" ||
      value.kind === "nothing");
  setPlace(
    binding,
    isTyped && typed.kind !== "block" ? typed : value,
    ident,
    at,
  );
}

function declareMembers(
  pattern: Deno.lint.ObjectPattern,
  value: Value | undefined,
  at: At,
): void {
  const typed = typedValue(at.file, at.scope, pattern.typeAnnotation, "");
  const whole = value === undefined || value.kind === "unknown"
    ? typed ?? UNKNOWN
    : value;
  for (const each of pattern.properties) {
    if (each.type !== "Property") {
      declarePattern(each, UNKNOWN, at);
      continue;
    }
    const name = keyName(each.key, each.computed);
    if (each.computed) evaluate(each.key as Expression, at);
    const member = name === undefined
      ? UNKNOWN
      : memberOf(whole, name, each.key, at);
    const isNamed = member.kind === "unknown" && name !== undefined &&
      isPoolName(name) && !each.shorthand;
    const own = isNamed
      ? namedPool(`member ${at.file.idOf(each)}`, name, at)
      : value === undefined
      ? ownBlock(member, each, at)
      : member;
    declarePattern(each.value, own, at);
  }
}

/** A parameter's member that is a block is this call's, whatever others the type describes. */
function ownBlock(value: Value, node: Node, at: At): Value {
  if (value.kind !== "block" || !value.leases[0]!.isVague) return value;
  const { name, origin } = value.leases[0]!;
  const own = borrowed(at.file, node, name, origin.sure);
  take(own, at);
  return own;
}

function declareElements(
  pattern: Deno.lint.ArrayPattern,
  value: Value,
  at: At,
): void {
  if (value.kind === "acquiring") reportNotAwaited(value, pattern, at);
  // The tree leaves out a hole and all that follows it.
  const hasHole = /\[\s*,|,\s*,/.test(at.file.textOf(pattern));
  if (value.kind === "blocks" && isHeldBy(value.lease, at)) {
    // They stay elements of the array that has a name.
    pattern.elements.forEach((each, i) => {
      if (!each) return;
      const element = memberOf(value, `${i}`, each, at);
      if (each.type === "Identifier") {
        for (const lease of blocksIn(element)) lease.name = each.name;
      }
      declarePattern(each, element, at);
    });
    return;
  }
  if (value.kind === "blocks") {
    const isOwn = at.state.status(value.lease).is === "held" && !hasHole &&
      value.lease.owner === "function";
    if (!isOwn) at.state.letGo(value.lease);
    else at.state.leases.delete(value.lease);
    for (const each of pattern.elements) {
      if (each?.type !== "Identifier") {
        declarePattern(each, UNKNOWN, at);
        continue;
      }
      const lease = at.file.leaseAt(each, () => ({
        origin: value.lease.origin,
        owner: value.lease.owner,
        many: false,
      }));
      if (isOwn) begin(lease, at);
      declarePattern(each, blockOf(lease), at);
    }
    return;
  }
  const items = value.kind === "list" && !hasHole ? value.items : [];
  if (hasHole) escape(value, at);
  // `[a, b] = [b, a]`: all of them are held until each has its name.
  const inside = `elements ${at.file.idOf(pattern)}`;
  at.state.vars.set(inside, value);
  pattern.elements.forEach((each, i) => {
    const isMany = value.kind === "list" && value.many;
    const item = isMany && each && items.length > 0
      ? memberOf(value, `${i}`, each, at)
      : items[i];
    declarePattern(each, item ?? UNKNOWN, at);
  });
  at.state.vars.delete(inside);
}

/** Gives a block to a name that ends it with its block of statements. */
export function declareUsing(
  id: Node | undefined,
  value: Value,
  at: At,
): void {
  markUsing(value);
  for (const { origin } of blocksIn(value)) {
    if (id?.type === "Identifier" && /block/i.test(id.name)) {
      origin.isHandle = true;
    }
  }
  declarePattern(id, value, at);
}

/** Gives an expression on the left of `=` its value. */
export function assign(target: Expression, value: Value, at: At): void {
  const inner = bare(target);
  switch (inner.type) {
    case "Identifier": {
      const binding = at.scope.lookup(inner.name);
      if (binding !== undefined) setPlace(binding, value, inner, at);
      if (binding === undefined || isOuter(binding, at)) {
        store(value, binding ?? inner.name, true, inner, at);
        escape(value, at);
      } else if (value.kind === "list") store(value, binding, false, inner, at);
      return;
    }
    case "MemberExpression":
      return assignMember(inner, value, at);
    case "ObjectPattern":
    case "ArrayPattern":
      return declarePattern(inner, value, at);
  }
  evaluate(inner, at);
  escape(value, at);
}

function assignMember(
  target: Deno.lint.MemberExpression,
  value: Value,
  at: At,
): void {
  const object = bare(target.object);
  const name = memberName(target);
  if (object.type === "Identifier") {
    const binding = at.scope.lookup(object.name);
    const held = binding && at.state.vars.get(binding);
    if (binding && held?.kind === "record" && name !== undefined) {
      const members = new Map(held.members).set(name, value);
      at.state.vars.set(binding, { kind: "record", members });
      return;
    }
    if (binding && held?.kind === "list" && !isOuter(binding, at)) {
      if (name === "length") clearPlace(binding, at);
      else put(value, binding, target, at);
      return;
    }
  }
  // For the uses on the left side: `block.bytes[0] = 1`, `block[0] = 1`.
  evaluate(target, at, true);
  const text = at.file.textOf(target);
  clearPlace(text, at);
  if (isKeptBy(target, at)) store(value, text, true, target, at);
  if (value.kind === "function" && /^on[a-z]+$/.test(name ?? "")) {
    return outlive(value, "event", at);
  }
  const isOwn = object.type === "ThisExpression" && name !== undefined;
  if (isOwn) checkOverwritten(`this.${name}`, value, target, at);
  escape(value, at);
  if (isOwn) at.state.vars.set(`this.${name}`, value);
}

/** Whether what a member belongs to is there when the function is over. */
function isKeptBy(target: Deno.lint.MemberExpression, at: At): boolean {
  const root = rootOf(target);
  if (root === undefined) return false;
  if (root.type === "ThisExpression") return true;
  if (target.computed && isNumber(target.property)) return false;
  const binding = at.scope.lookup(root.name);
  return binding === undefined || binding.kind === "param" ||
    isOuter(binding, at);
}

/** Gives a variable, or `this.name`, its value. */
function setPlace(place: Place, value: Value, node: Node, at: At): void {
  checkOverwritten(place, value, node, at);
  clearPlace(place, at);
  const name = typeof place === "string" ? place : place.name;
  if (value.kind === "acquiring") value.lease.name = name;
  for (const lease of blocksIn(value)) {
    lease.name ||= name;
    if (value.kind === "block" && value.leases.length === 1) {
      if (at.frame.fresh.includes(lease)) lease.name = name;
    }
  }
  // What is declared here and never assigned is as unknown if nothing is noted.
  const isPlain = typeof place !== "string" && value.kind === "unknown" &&
    /^(const|param|catch)$/.test(place.kind);
  if (!isPlain) at.state.vars.set(place, value);
}

/** The names of a scope that hold nothing yet. */
export function declareEmpty(
  binding: Binding,
  ident: Deno.lint.Identifier,
  at: At,
): void {
  const typed = typedValue(at.file, at.scope, ident.typeAnnotation, ident.name);
  const isPool = typed?.kind === "pool" || typed?.kind === "thing";
  at.state.vars.set(binding, isPool ? typed : NOTHING);
}

/** The kinds of bindings that a declaration makes. */
export function kindOf(node: Deno.lint.VariableDeclaration): BindingKind {
  return node.kind === "await using" ? "using" : node.kind;
}
