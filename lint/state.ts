/**
 * What is known at one point of a function: what each variable is, how far each lease is, which
 * operations are under way, where views were put.
 *
 * A state is cloned where control flow parts and joined where it meets again. It decides nothing:
 * it only forgets, in a way that never makes a lease surer than it was on both paths.
 */
import { CowMap, CowSet } from "./cow.ts";
import type { Binding } from "./scope.ts";
import type { Node } from "./syntax.ts";
import type { Lease, Operation, Value } from "./values.ts";
import { blocksIn, maybe, replaced, union } from "./values.ts";

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
    /** It has escaped to opaque code. */
    | "unknown";
  readonly end?: End | undefined;
}

export const HELD: Status = { is: "held" };
export const PERHAPS: Status = { is: "perhaps" };
export const KEPT: Status = { is: "kept" };
export const EMPTY: Status = { is: "nothing" };
export const NOT_TRACKED: Status = { is: "unknown" };

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

/** A variable, `this.name`, or the head of a loop. */
export type Place = Binding | string;

/** What is known at one point. */
export class State {
  readonly vars: CowMap<Place, Value>;
  readonly leases: CowMap<Lease, Status>;
  readonly pending: CowSet<Operation>;
  readonly stored: CowSet<Stored>;
  /** Whether control flow never gets here. */
  dead = false;

  constructor(
    vars: CowMap<Place, Value> = new CowMap(),
    leases: CowMap<Lease, Status> = new CowMap(),
    pending: CowSet<Operation> = new CowSet(),
    stored: CowSet<Stored> = new CowSet(),
  ) {
    this.vars = vars;
    this.leases = leases;
    this.pending = pending;
    this.stored = stored;
  }

  /** The same, to go another way. */
  clone(): State {
    const copy = new State(
      this.vars.clone(),
      this.leases.clone(),
      this.pending.clone(),
      this.stored.clone(),
    );
    copy.dead = this.dead;
    return copy;
  }

  /** Becomes what is known when control flow came here or there. */
  join(other: State, isLoop = false): void {
    if (other.dead) return;
    if (this.dead) return this.become(other);
    if (!this.leases.isSame(other.leases)) this.#joinLeases(other, isLoop);
    if (!this.vars.isSame(other.vars)) this.#joinVars(other);
    if (!this.pending.isSame(other.pending)) {
      for (const each of other.pending) this.pending.add(each);
    }
    if (!this.stored.isSame(other.stored)) {
      for (const each of other.stored) this.stored.add(each);
    }
  }

  /** Becomes the other. */
  become(other: State): void {
    this.vars.become(other.vars);
    this.leases.become(other.leases);
    this.pending.become(other.pending);
    this.stored.become(other.stored);
    this.dead = other.dead;
  }

  /** Whether nothing but variables has changed since this was made from the other, or the other way round. */
  isAsQuietAs(other: State): boolean {
    return this.leases.isSame(other.leases) &&
      this.pending.isSame(other.pending) &&
      this.stored.isSame(other.stored);
  }

  /** How far a lease is; one of an array as far as the array, and otherwise not tracked. */
  status(lease: Lease): Status {
    const own = this.leases.get(lease);
    if (own !== undefined) return own;
    return lease.array === undefined ? NOT_TRACKED : this.status(lease.array);
  }

  /** Whether all of the leases have ended for certain. */
  haveEnded(leases: readonly Lease[]): boolean {
    return leases.length > 0 &&
      leases.every((lease) => this.status(lease).is === "ended");
  }

  /** What a lease has been so far goes on as another one. */
  part(lease: Lease, twin: Lease): void {
    this.leases.set(twin, this.status(lease));
    this.leases.delete(lease);
    for (const place of this.vars.keys()) {
      this.vars.set(place, replaced(this.vars.get(place)!, lease, twin));
    }
  }

  /** Handed to code that cannot be seen: from here on nothing is known of a lease that goes on. */
  letGo(lease: Lease): void {
    lease.escapes = true;
    const is = this.leases.get(lease)?.is;
    if (is !== undefined && is !== "ended") this.leases.set(lease, NOT_TRACKED);
  }

  #joinLeases(other: State, isLoop: boolean): void {
    const own = this.leases.keys();
    for (const lease of other.leases.keys()) {
      const both = joined(
        this.leases.get(lease),
        other.leases.get(lease),
        isLoop,
      );
      this.leases.set(lease, both);
    }
    for (const lease of own) {
      if (other.leases.has(lease)) continue;
      this.leases.set(lease, joined(this.leases.get(lease), undefined, isLoop));
    }
  }

  #joinVars(other: State): void {
    const own = this.vars.keys();
    for (const place of other.vars.keys()) {
      const value = other.vars.get(place)!;
      if (this.vars.get(place) !== value) this.#joinVar(place, value);
    }
    for (const place of own) {
      const value = this.vars.get(place);
      if (value !== undefined && !other.vars.has(place)) {
        this.vars.set(place, maybe(value));
      }
    }
  }

  #joinVar(place: Place, value: Value): void {
    const own = this.vars.get(place);
    if (own === undefined) {
      this.vars.set(place, maybe(value));
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
      for (const lease of [...blocksIn(own), ...blocksIn(value)]) {
        this.letGo(lease);
      }
    }
  }
}

/** What is known of a lease that is so far on one path and so far on the other. */
export function joined(
  a: Status | undefined,
  b: Status | undefined,
  isLoop: boolean,
): Status {
  if (a === undefined || b === undefined) {
    const only = a ?? b ?? NOT_TRACKED;
    return only.is === "held" ? PERHAPS : only;
  }
  if (a.is === b.is) return a;
  const one = (is: Status["is"]) => a.is === is || b.is === is;
  const end = a.end ?? b.end;
  if (one("unknown")) return NOT_TRACKED;
  if (one("guarded")) return { is: "guarded", end };
  if (one("open")) return one("kept") ? NOT_TRACKED : { is: "open", end };
  if (one("nothing")) {
    const other = a.is === "nothing" ? b : a;
    return other.is === "held" ? PERHAPS : other;
  }
  if (one("kept")) return one("held") ? KEPT : NOT_TRACKED;
  if (one("ended") || one("maybe")) {
    const isPlain = !isLoop && !one("perhaps");
    return { is: isPlain ? "maybe" : "guarded", end };
  }
  return PERHAPS;
}
