/**
 * Where the walk through a function is: the file, the activation, the scope, and what is known.
 *
 * The records that all parts of the walk share, and the few steps they all take; the walk itself is
 * in `statements.ts` and `expressions.ts`.
 */
import type { File } from "./file.ts";
import type { Scope } from "./scope.ts";
import type { State, Status } from "./state.ts";
import { joined } from "./state.ts";
import type { ClassNode, FunctionNode, Node } from "./syntax.ts";
import type { Lease, Operation, Value } from "./values.ts";

/** Calls inside of calls that are walked in place. */
export const MOST_DEPTH = 6;

/** A way out of a statement other than its end. */
export interface Jump {
  readonly kind: "return" | "throw" | "break" | "continue";
  readonly label: string | undefined;
  readonly state: State;
  readonly node: Node;
  /** What is returned. */
  readonly value: Value;
}

/** What was known of leases wherever the body of a `try` may have thrown. */
export interface Try {
  readonly before: State;
  readonly seen: Map<Lease, Status>;
}

/** How an activation has used a lease. */
export interface Touch {
  readonly node: Node;
  /** After its first `await`, or by an operation. */
  readonly isLate: boolean;
}

/** One activation of a function, or of the file as a whole. */
export interface Frame {
  readonly node: FunctionNode | Deno.lint.Program;
  /** The activation that this one runs within, if its call is walked in place. */
  readonly parent: Frame | undefined;
  readonly self: ClassNode | undefined;
  readonly depth: number;
  /** The lease that lasts as long as this function, of `lend` or `use`, and which of them. */
  readonly covers:
    | { readonly lease: Lease; readonly by: "lend" | "use" }
    | undefined;
  jumps: Jump[];
  readonly tries: Try[];
  touched: ReadonlyMap<Lease, Touch>;
  /** Leases that began in this statement and are bound to nothing yet. */
  fresh: readonly Lease[];
  readonly yields: Value[];
  /** Leases that had ended when the function was called. */
  readonly endedBefore: Set<Lease> | undefined;
  hasAwaited: boolean;
  /** Only an initializer is looked at: other variables were not walked. */
  readonly isAside: boolean;
}

/** Where the walk is. */
export interface At {
  readonly file: File;
  readonly frame: Frame;
  readonly scope: Scope;
  readonly state: State;
}

const UNTOUCHED: ReadonlyMap<Lease, Touch> = new Map();

/** Notes how an activation has used a lease; `undefined` that it is to be forgotten. */
export function setTouch(
  frame: Frame,
  lease: Lease,
  touch: Touch | undefined,
): void {
  const touched = frame.touched === UNTOUCHED
    ? new Map<Lease, Touch>()
    : frame.touched as Map<Lease, Touch>;
  if (touch === undefined) touched.delete(lease);
  else touched.set(lease, touch);
  frame.touched = touched;
}

/** A new activation. */
export function frameOf(
  node: Frame["node"],
  rest: Partial<
    Pick<Frame, "parent" | "self" | "covers" | "endedBefore" | "isAside">
  > = {},
): Frame {
  return {
    node,
    parent: rest.parent,
    self: rest.self,
    covers: rest.covers,
    endedBefore: rest.endedBefore,
    isAside: rest.isAside ?? false,
    depth: (rest.parent?.depth ?? -1) + 1,
    jumps: [],
    tries: [],
    touched: UNTOUCHED,
    fresh: [],
    yields: [],
    hasAwaited: false,
  };
}

/** Notes that control flow may leave from here to a `catch`. */
export function mayThrow(at: At): void {
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    for (const { before, seen } of frame.tries) {
      for (const lease of before.leases.keys()) {
        const status = at.state.status(lease);
        seen.set(lease, joined(seen.get(lease) ?? status, status, true));
      }
    }
  }
}

/** Notes that a lease is used here. */
export function touch(
  leases: readonly Lease[],
  node: Node,
  at: At,
  isLate = false,
): void {
  if (leases.length === 0) return;
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    for (const lease of leases) {
      const known = frame.touched.get(lease);
      if (known?.isLate) continue;
      const late = isLate || frame.hasAwaited;
      if (known === undefined || late) {
        setTouch(frame, lease, { node, isLate: late });
      }
    }
  }
}

/** What covers a lease here: the `lend` or `use` whose function this is. */
export function coverOf(lease: Lease, at: At): Frame["covers"] {
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    if (frame.covers?.lease === lease) return frame.covers;
  }
  return undefined;
}

/** Takes operations off those that are under way. */
export function settle(operations: Iterable<Operation>, at: At): void {
  for (const each of operations) at.state.pending.delete(each);
}
