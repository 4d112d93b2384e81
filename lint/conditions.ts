/**
 * What a condition tells: that a variable holds a block or nothing, that a lease has ended.
 */
import type { Place, State, Status } from "./state.ts";
import { EMPTY, HELD } from "./state.ts";
import type { Expression } from "./syntax.ts";
import { bare, isNothing, memberName } from "./syntax.ts";
import type { Lease } from "./values.ts";
import type { At } from "./walk.ts";

/**
 * Goes two ways and comes together again.
 *
 * A lease that may have ended is guarded on both ways: the condition may be correlated with the one
 * that ended it. If neither way has changed its status, it is restored.
 */
export function fork(
  at: At,
  onTrue: (at: At) => void,
  onFalse: (at: At) => void,
): void {
  const { state } = at;
  const maybes = guard(state);
  const other = state.clone();
  onTrue(at);
  onFalse({ ...at, state: other });
  const unchanged = state.dead || other.dead
    ? []
    : maybes.filter(([lease]) =>
      state.status(lease).is === "guarded" &&
      other.status(lease).is === "guarded"
    );
  state.join(other);
  for (const [lease, status] of unchanged) state.leases.set(lease, status);
}

/** Guards the leases that may have ended. Returns how they were. */
function guard(state: State): [Lease, Status][] {
  const maybes: [Lease, Status][] = [];
  for (const lease of state.leases.keys()) {
    const status = state.status(lease);
    if (status.is !== "maybe" && status.is !== "open") continue;
    maybes.push([lease, status]);
    state.leases.set(lease, { ...status, is: "guarded" });
  }
  return maybes;
}

/** Takes a condition for true, or for false. */
export function refine(node: Expression, isTrue: boolean, at: At): void {
  const test = bare(node);
  switch (test.type) {
    case "UnaryExpression":
      if (test.operator === "!") refine(test.argument, !isTrue, at);
      return;
    case "LogicalExpression":
      if (
        test.operator === "&&" && isTrue || test.operator === "||" && !isTrue
      ) {
        refine(test.left, isTrue, at);
        refine(test.right, isTrue, at);
      }
      return;
    case "BinaryExpression":
      return refineEquality(test, isTrue, at);
    case "Literal":
      if (test.raw === (isTrue ? "false" : "true")) at.state.dead = true;
      return;
    case "Identifier":
      refineFlag(test, isTrue, at);
      break;
    case "MemberExpression": {
      if (memberName(test) === "released") {
        return refineReleased(test.object, isTrue, at);
      }
      break;
    }
  }
  const place = placeOf(test, at);
  if (place !== undefined) refinePlace(place, !isTrue, at);
}

/** `x === undefined`, `x != null`, `this.block === block`. */
function refineEquality(
  { operator, left, right }: Deno.lint.BinaryExpression,
  isTrue: boolean,
  at: At,
): void {
  if (left.type === "PrivateIdentifier" || !/^[!=]==?$/.test(operator)) return;
  const isEqual = operator.startsWith("=") === isTrue;
  const [one, other] = isNothing(right) ? [left, right] : [right, left];
  if (isNothing(other)) {
    const inner = bare(one);
    const named = operator.length === 3 ? at.file.textOf(other) : undefined;
    if (inner.type === "Identifier") refineFlag(inner, !isEqual, at, named);
    const place = placeOf(inner, at);
    if (place !== undefined) refinePlace(place, isEqual, at);
  } else if (isEqual) {
    // Another variable or field has the block as well.
    for (const side of [left, right]) {
      for (const lease of leasesAt(side, at)) at.state.letGo(lease);
    }
  }
}

/**
 * A variable that is `true`, `false` or empty on the path walked: the other branch is not taken.
 * Only of the function itself: what another function assigns may be assigned at any time.
 */
function refineFlag(
  node: Deno.lint.Identifier,
  isTrue: boolean,
  at: At,
  /** What a strict comparison compares it with. */
  named?: string,
): void {
  const binding = at.scope.lookup(node.name);
  if (binding?.scope.owner !== at.frame.node) return;
  const value = at.state.vars.get(binding);
  let isSet: boolean;
  switch (value?.kind) {
    case "boolean":
      isSet = named !== undefined || value.isTrue;
      break;
    case "nothing":
      if (named !== undefined && value.is === "either") return;
      isSet = named !== undefined && value.is !== named;
      break;
    default:
      return;
  }
  if (isSet === isTrue || at.file.isSetElsewhere(binding)) return;
  at.state.dead = true;
}

/** The leases of the block that a variable or a field has. */
function leasesAt(node: Expression, at: At): readonly Lease[] {
  const place = placeOf(bare(node), at);
  const value = place === undefined ? undefined : at.state.vars.get(place);
  return value?.kind === "block" ? value.leases : [];
}

/** `block.released`. */
function refineReleased(object: Expression, isTrue: boolean, at: At): void {
  for (const lease of leasesAt(object, at)) {
    const { is } = at.state.status(lease);
    if (isTrue && is !== "ended") at.state.leases.set(lease, EMPTY);
    if (!isTrue && /^(maybe|open|guarded|perhaps)$/.test(is)) {
      at.state.leases.set(lease, HELD);
    }
  }
}

/** The variable, or the field of this object, that an expression is. */
function placeOf(node: Expression, at: At): Place | undefined {
  switch (node.type) {
    case "Identifier":
      return at.scope.lookup(node.name);
    case "AssignmentExpression":
      return placeOf(bare(node.left), at);
    case "MemberExpression": {
      const name = memberName(node);
      const isOwn = bare(node.object).type === "ThisExpression";
      return isOwn && name !== undefined ? `this.${name}` : undefined;
    }
  }
  return undefined;
}

/** What a variable is found to be when a condition says that it is empty, or not. */
function refinePlace(place: Place, isEmpty: boolean, at: At): void {
  const value = at.state.vars.get(place);
  if (value?.kind !== "block") return;
  for (const lease of value.leases) {
    const { is } = at.state.status(lease);
    if (isEmpty) {
      if (is !== "ended" && at.state.leases.has(lease)) {
        at.state.leases.set(lease, EMPTY);
      }
    } else if (is === "perhaps" || is === "nothing") {
      at.state.leases.set(lease, { is: "held" });
    }
  }
}
