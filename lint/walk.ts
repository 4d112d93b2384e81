/**
 * Where the walk through a function is: the file, the activation, the scope, and what is known.
 *
 * The records that all parts of the walk share, and the few steps they all take; the walk itself is
 * in `statements.ts` and `expressions.ts`.
 */
import { UNKNOWN } from "./values.ts";
import type { File } from "./file.ts";
import type { Binding, Scope } from "./scope.ts";
import type { State, Status } from "./state.ts";
import { joined } from "./state.ts";
import type {
  ClassNode,
  Expression,
  FunctionNode,
  Node,
  Statement,
} from "./syntax.ts";
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

/** The walk itself, which its parts call again and again. */
export interface Engine {
  readonly evaluate: (
    node: Expression | Deno.lint.PrivateIdentifier,
    at: At,
    isPeek: boolean,
  ) => Value;
  readonly execute: (
    node: Statement | Deno.lint.StaticBlock,
    at: At,
    label: string | undefined,
  ) => void;
  readonly declare: (
    pattern: Node | null | undefined,
    value: Value | undefined,
    at: At,
  ) => void;
  readonly activate: (
    fn: FunctionValue,
    args: readonly Value[],
    at: At,
    entry: Entry,
  ) => Activation;
}

/** A function as a value. */
export type FunctionValue = Value & { readonly kind: "function" };

/** What a `return` gives. */
export interface Return {
  readonly node: Node;
  readonly value: Value;
}

/** What came of an activation. */
export interface Activation {
  readonly value: Value;
  readonly frame: Frame;
  readonly returns: readonly Return[];
}

/** How an activation is entered. */
export interface Entry {
  readonly covers?: Frame["covers"];
  /** A lease that the function has to end. */
  readonly owns?: Lease;
  /** Leases that had ended when it was called. */
  readonly endedBefore?: Set<Lease>;
  /** The call, if its value is what the function gives. */
  readonly call?: Node;
}

/** Where the walk is. */
export interface At {
  readonly engine: Engine;
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
  for (const each of operations) {
    at.state.pending.delete(each);
    if (each.raced !== undefined) each.isAwaited = true;
  }
}

/**
 * What an expression gives.
 *
 * @param isPeek It is only compared or assigned to: then a view that has ended does no harm
 */
export function evaluate(
  node: Expression | Deno.lint.PrivateIdentifier | null | undefined,
  at: At,
  isPeek = false,
): Value {
  if (!node || !at.file.enter()) return UNKNOWN;
  const value = at.engine.evaluate(node, at, isPeek);
  at.file.leave();
  return value;
}

/** Walks a statement. */
export function execute(
  node: Statement | Deno.lint.StaticBlock | null | undefined,
  at: At,
  label?: string,
): void {
  if (!node || at.state.dead || !at.file.enter()) return;
  at.engine.execute(node, at, label);
  at.file.leave();
}

/** Whether a variable belongs to a function around this one. */
export function isOuter(binding: Binding, at: At): boolean {
  for (let frame: Frame | undefined = at.frame; frame; frame = frame.parent) {
    if (binding.scope.owner === frame.node) return false;
  }
  return true;
}
