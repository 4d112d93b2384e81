/**
 * Ways out of a statement other than its end: where they begin, which statement takes them, and
 * which scopes they leave.
 */
import { leaveScope } from "./leases.ts";
import type { Scope } from "./scope.ts";
import type { Node } from "./syntax.ts";
import type { Value } from "./values.ts";
import { union } from "./values.ts";
import type { At, Jump } from "./walk.ts";

/** Leaves by `return`, `throw`, `break` or `continue`. */
export function jump(
  kind: Jump["kind"],
  label: string | undefined,
  node: Node,
  value: Value,
  at: At,
): void {
  at.frame.jumps.push({ kind, label, node, value, state: at.state.clone() });
  at.state.dead = true;
}

/** Leaves a scope on its end and on each way out of it. */
export function leaveAll(scope: Scope, before: number, at: At): void {
  const { jumps } = at.frame;
  for (let i = before; i < jumps.length; i++) {
    leaveScope(scope, { ...at, state: jumps[i]!.state }, jumps[i]);
  }
  leaveScope(scope, at, undefined);
}

/** The ways out of one kind that lead to this statement; they are gone from the activation. */
export function takeJumps(
  at: At,
  before: number,
  kind: Jump["kind"],
  label: string | undefined,
): Jump[] {
  const taken: Jump[] = [];
  if (at.frame.jumps.length === before) return taken;
  const isMine = (each: Jump) =>
    each.kind === kind && (each.label === undefined || each.label === label);
  const rest = at.frame.jumps.filter((each, i) => {
    if (i < before || !isMine(each)) return true;
    taken.push(each);
    return false;
  });
  at.frame.jumps.splice(0, at.frame.jumps.length, ...rest);
  return taken;
}

/** The same way out, walked twice, is one. */
export function mergeJumps(jumps: readonly Jump[]): Jump[] {
  const merged = new Map<string, Jump>();
  for (const each of jumps) {
    const place = `${each.kind} ${each.node.range[0]}`;
    const known = merged.get(place);
    if (known === undefined) merged.set(place, each);
    else {
      known.state.join(each.state, true);
      const value = union(known.value, each.value);
      merged.set(place, { ...known, value });
    }
  }
  return [...merged.values()];
}
