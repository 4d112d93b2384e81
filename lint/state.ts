/**
 * What is known at one point of a function: what each variable is, how far each lease is, which
 * operations are under way, where views were put.
 *
 * A state is cloned where control flow parts and joined where it meets again. It decides nothing:
 * it only forgets, in a way that never makes a lease surer than it was on both paths.
 */
import type { Binding } from "./scope.ts";
import type { Node } from "./syntax.ts";
import type { Lease, Operation, Value } from "./values.ts";
import { blocksIn, union } from "./values.ts";

/** How a lease came to its end. */
export interface End {
  readonly how: "release" | "detach" | "abandon" | "using" | "use" | "step";
  readonly node: Node;
}

/** How far a lease is. */
export interface Status {
  readonly is:
    | "held"
    /** Held if it was acquired at all. */
    | "perhaps"
    /** Held, by an array that this function made. */
    | "kept"
    /** The variable was found empty. */
    | "nothing"
    | "ended"
    /** Ended on one path and held on another, and a path that went on decides which. */
    | "maybe"
    /** As `maybe`, in a `catch`: ending it is right, and leaving it is not. */
    | "open"
    /** As `maybe`, below a condition that may be the same one. */
    | "guarded"
    /** Handed to code that cannot be seen. */
    | "unknown";
  readonly end?: End;
}

export const HELD: Status = { is: "held" };
export const PERHAPS: Status = { is: "perhaps" };
export const KEPT: Status = { is: "kept" };
export const EMPTY: Status = { is: "nothing" };
export const ANYBODY: Status = { is: "unknown" };

/** A view, or a block bound by `using`, that was put where it may be found later. */
export interface Stored {
  readonly lease: Lease;
  readonly node: Node;
  /** The variable, or the text of the member, that has it now. */
  readonly place: Binding | string;
  /** Whether the place is there when the function is over. */
  readonly outlives: boolean;
  readonly isBlock: boolean;
}

/** A variable, or `this.name`. */
export type Place = Binding | string;

/** What is known at one point. */
export class State {
  /** Whether control flow never gets here. */
  dead = false;

  constructor(
    readonly vars: Map<Place, Value> = new Map(),
    readonly leases: Map<Lease, Status> = new Map(),
    readonly pending: Set<Operation> = new Set(),
    readonly stored: Set<Stored> = new Set(),
  ) {}

  /** The same, to go another way. */
  clone(): State {
    const copy = new State(
      new Map(this.vars),
      new Map(this.leases),
      new Set(this.pending),
      new Set(this.stored),
    );
    copy.dead = this.dead;
    return copy;
  }

  /** Becomes what is known when control flow came here or there. */
  join(other: State, isLoop = false): void {
    if (other.dead) return;
    if (this.dead) return this.become(other);
    for (const [lease, status] of other.leases) {
      this.leases.set(lease, joined(this.leases.get(lease), status, isLoop));
    }
    for (const [lease, status] of this.leases) {
      if (other.leases.has(lease)) continue;
      this.leases.set(lease, joined(status, undefined, isLoop));
    }
    for (const [place, value] of other.vars) this.#joinVar(place, value);
    for (const [place, value] of this.vars) {
      if (!other.vars.has(place)) this.vars.set(place, empty(value));
    }
    for (const each of other.pending) this.pending.add(each);
    for (const each of other.stored) this.stored.add(each);
  }

  /** Becomes the other. */
  become(other: State): void {
    replace(this.vars, other.vars);
    replace(this.leases, other.leases);
    this.pending.clear();
    for (const each of other.pending) this.pending.add(each);
    this.stored.clear();
    for (const each of other.stored) this.stored.add(each);
    this.dead = other.dead;
  }

  /** How far a lease is; one of an array as far as the array, and else anybody's. */
  status(lease: Lease): Status {
    const own = this.leases.get(lease);
    if (own !== undefined) return own;
    return lease.array === undefined ? ANYBODY : this.status(lease.array);
  }

  /** Whether all of the leases have ended for certain. */
  haveEnded(leases: readonly Lease[]): boolean {
    return leases.length > 0 &&
      leases.every((lease) => this.status(lease).is === "ended");
  }

  /** Handed to code that cannot be seen: from here on nothing is known of the lease. */
  letGo(lease: Lease): void {
    lease.escapes = true;
    if (this.leases.has(lease)) this.leases.set(lease, ANYBODY);
  }

  #joinVar(place: Place, value: Value): void {
    const own = this.vars.get(place);
    if (own === undefined) {
      this.vars.set(place, empty(value));
      return;
    }
    const both = union(own, value);
    this.vars.set(place, both);
    const [a, b] = [own.kind === "nothing", value.kind === "nothing"];
    if (a !== b && both.kind === "block") {
      // Whether the variable is empty says whether the lease has ended.
      for (const lease of both.leases) {
        const status = this.status(lease);
        if (status.is === "maybe") {
          this.leases.set(lease, { ...status, is: "guarded" });
        }
      }
    }
    if (both.kind === "unknown" && own !== value) {
      for (const lease of [...blocksIn(own), ...blocksIn(value)]) this.letGo(lease);
    }
  }
}

/** A variable that has the value on one path and nothing known on the other. */
function empty(value: Value): Value {
  return value.kind === "block" ? { ...value, maybe: true } : value;
}

function replace<K, V>(target: Map<K, V>, source: ReadonlyMap<K, V>): void {
  target.clear();
  for (const [key, value] of source) target.set(key, value);
}

/** What is known of a lease that is so far on one path and so far on the other. */
export function joined(
  a: Status | undefined,
  b: Status | undefined,
  isLoop: boolean,
): Status {
  if (a === undefined || b === undefined) {
    const only = a ?? b ?? ANYBODY;
    return only.is === "held" ? PERHAPS : only;
  }
  if (a.is === b.is) return a;
  const kinds = new Set([a.is, b.is]);
  const end = a.end ?? b.end;
  if (kinds.has("unknown")) return ANYBODY;
  if (kinds.has("guarded")) return { is: "guarded", end };
  if (kinds.has("open")) return kinds.has("kept") ? ANYBODY : { is: "open", end };
  if (kinds.has("nothing")) {
    const other = a.is === "nothing" ? b : a;
    return other.is === "held" ? PERHAPS : other;
  }
  if (kinds.has("kept")) return kinds.has("held") ? KEPT : ANYBODY;
  if (kinds.has("ended") || kinds.has("maybe")) {
    const isPlain = !isLoop && !kinds.has("perhaps");
    return { is: isPlain ? "maybe" : "guarded", end };
  }
  return PERHAPS;
}
