// A worker of a shared pool as the explorer sees it: a function of what its accesses give. It is run from
// the start, is given again what its accesses gave before, and stops at the first one that is new. What was
// found so is kept: where a worker stands is a node of a tree, with an edge for each thing that its next
// access may give.

import { type Block, blockOf, slotOf } from "../../pool/block.ts";
import { isOut } from "../../pool/inspect.ts";
import type { BlockTicket } from "../../pool/slot.ts";
import type { SharedParts } from "../../shared/assembly.ts";
import { attach, begin, handleOf } from "../../shared/attach.ts";
import type { SharedPoolHandle } from "../../shared/handle.ts";
import { HEADER } from "../../shared/control.ts";
import type { SharedPoolOptions } from "../../shared/options.ts";
import { type Access, accessBy, watchArrays } from "../support/shared_words.ts";
import { type Asker, MEMORY, runAs, UNMAPPED } from "./system.ts";
import {
  BOXES,
  FENCE,
  isDouble,
  keyOf,
  type Kind,
  PAGES,
  RANGES,
  THREAD,
  type WordTable,
} from "./words.ts";

/** Thrown where a worker is stopped; not a step more is done. */
class Stop extends Error {}
const STOP = new Stop();
Stop.prototype.stack = "";

addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof Stop) event.preventDefault();
});

/** What comes next. */
export interface Step {
  readonly kind: Kind;
  readonly word: number;
  readonly a: number;
  readonly b: number;
}

/** Carries accesses out, one way or another. */
export interface Ground {
  access(kind: Kind, key: number, a: number, b: number): number;
}

/** The value of a word after an operation of `Atomics` that found `old` there. */
export function after(kind: Kind, old: number, a: number, b: number): number {
  switch (kind) {
    case "set":
    case "store":
    case "exchange":
      return a;
    case "add":
      return old + a | 0;
    case "sub":
      return old - a | 0;
    case "and":
      return old & a;
    case "or":
      return old | a;
    case "xor":
      return old ^ a;
    case "compareExchange":
      return old === a ? b : old;
    default:
      return old;
  }
}

/** What a program does with the pool, and what it keeps book of. */
export class Hand implements Asker {
  readonly thread: number;
  now = 0;
  parts!: SharedParts;
  /** Slots between a take that has succeeded and the call that gives them back; replaced at each change. */
  holds: readonly number[] = [];
  /** Tickets that were good here; replaced at each change. */
  adopted: readonly number[] = [];
  /** Bytes of views that are not ended. */
  viewBytes = 0;
  /** What went wrong. */
  failure: string | undefined;
  readonly #ground: Ground;
  readonly #handle: () => SharedPoolHandle;

  constructor(
    readonly index: number,
    ground: Ground,
    handle: () => SharedPoolHandle,
  ) {
    this.thread = 100 + index;
    this.#ground = ground;
    this.#handle = handle;
  }

  // What programs are written with.

  create(options: SharedPoolOptions): void {
    this.#sit(begin(options, "here"));
  }

  /** By which others attach. */
  get handle(): SharedPoolHandle {
    return handleOf(this.parts);
  }

  attach(): void {
    this.#sit(attach(this.#handle(), "here"));
  }

  #sit(parts: SharedParts): void {
    this.parts = parts;
    const { views } = parts.leases;
    const { count } = views;
    views.count = (change) => {
      this.viewBytes += change;
      count.call(views, change);
    };
  }

  /** A block, if there is one. */
  take(options?: { reserved?: boolean }): Block | undefined {
    const { acquirer, dispatcher } = this.parts;
    const block = options === undefined
      ? acquirer.fast(false, undefined) ?? dispatcher.take({})
      : dispatcher.take(options);
    return block && this.#took(block);
  }

  /** Several at once, or none: what is not had at once is not waited for. */
  takeMany(count: number): readonly Block[] {
    const { dispatcher, leases } = this.parts;
    dispatcher.obtainMany(count, { timeoutMs: 0 }).catch(ignore);
    const slots = leases.records.filter((slot) =>
      isOut(slot) && !this.holds.includes(slot.index)
    );
    return slots.map((slot) => this.#took(blockOf(slot)));
  }

  /** A block, stopping the thread until there is one. */
  takeBlocking(): Block {
    return this.#took(this.parts.waitLoop.acquireBlocking({}));
  }

  /** A block, as soon as there is one: what is told by a notification is looked at by `awake`. */
  takeLater(): Block {
    const { dispatcher, leases } = this.parts;
    dispatcher.obtain({}).catch(ignore);
    while (dispatcher.waiting > 0) {
      this.access("awake", HEADER.EPOCH, 0, 0);
      const epoch = this.access("load", HEADER.EPOCH, 0, 0);
      dispatcher.pump();
      if (dispatcher.waiting === 0) break;
      this.access("waitAsync", HEADER.EPOCH, epoch, 0);
    }
    const slot = leases.records.find((slot) =>
      isOut(slot) && !this.holds.includes(slot.index)
    );
    return this.#took(blockOf(slot!));
  }

  #took(block: Block): Block {
    const { index } = slotOf(block)!;
    if (this.holds.includes(index)) {
      this.failure = `slot ${index} is had twice`;
    }
    this.holds = [...this.holds, index];
    return block;
  }

  #gives(block: Block): void {
    const { index } = slotOf(block)!;
    this.holds = this.holds.filter((slot) => slot !== index);
  }

  /** Bytes are asked for, which a view may reach from then on. */
  touch(block: Block): void {
    const { index } = slotOf(block)!;
    block.bytes[0] = 1;
    const { place } = this.parts.control;
    if (place[index] !== 0) return;
    if (this.access("peek", PAGES + index, 0, 0) !== MEMORY) {
      this.failure = `bytes of slot ${index} are used without memory`;
    }
  }

  give(block: Block): void {
    this.#gives(block);
    block.release();
  }

  abandon(block: Block): void {
    this.#gives(block);
    block.abandon();
  }

  /** Sends a block to a box, in which another worker finds its ticket. */
  send(block: Block, ...boxes: number[]): void {
    this.#gives(block);
    const { pool, slot, serial } = block.detach();
    pools.set(this.#handle(), pool);
    for (const box of boxes) {
      this.access("store", BOXES + box, 1 + slot + serial * 64, 0);
    }
  }

  /** The block of the ticket in a box, if it is good. Waits until there is one. */
  adopt(box: number): Block | undefined {
    const told = this.access("receive", BOXES + box, 0, 0) - 1;
    const ticket: BlockTicket = {
      pool: pools.get(this.#handle())!,
      slot: told % 64,
      serial: Math.floor(told / 64),
    };
    try {
      const block = this.#took(this.parts.tickets.adopt(ticket, undefined));
      this.adopted = [...this.adopted, told];
      return block;
    } catch (error) {
      if ((error as { code?: string }).code === "foreign-block") return;
      throw error;
    }
  }

  tell(box: number): void {
    this.access("store", BOXES + box, 1, 0);
  }

  hear(box: number): void {
    this.access("receive", BOXES + box, 0, 0);
  }

  /** What a timer does, after so many ms. */
  keepHouse(ms = 0): void {
    this.now += ms;
    this.parts.lifecycle.keepHouse();
  }

  /** Takes from the dead what they had. */
  reclaim(): void {
    this.parts.lifecycle.reclaim(undefined);
  }

  trim(): void {
    this.parts.sizer.trim();
  }

  /** Closes the pool for all. */
  close(): void {
    this.parts.lifecycle.beginClose();
  }

  hasLeft = false;

  leave(): void {
    this.hasLeft = true;
    this.holds = [];
    this.parts.lifecycle.leave();
  }

  // What the system is asked.

  isAlive(thread: number): boolean {
    if (thread === this.thread) return true;
    return this.access("alive", THREAD + thread, 0, 0) !== 0;
  }

  setPage(page: number, state: number): void {
    // What is there by then may be another mapping.
    if (this.access("exchange", PAGES + page, state, 0) === UNMAPPED) {
      this.failure = `page ${page} is changed after it was unmapped`;
    }
  }

  fence(): void {
    this.access("fence", FENCE, 0, 0);
  }

  nextRange(): number {
    return this.access("add", RANGES, 1, 0);
  }

  access(kind: Kind, key: number, a: number, b: number): number {
    return this.#ground.access(kind, key, a, b);
  }

  /** Does something as this worker. */
  as<T>(act: () => T): T {
    const access: Access = (kind, array, at, a = 0, b = 0) => {
      const key = keyOf(array, at);
      if (kind === "waitAsync") {
        // A change of state is looked for by the programs.
        const isAsleep = key !== HEADER.STATE &&
          this.access(kind, key, a, b) !== 0;
        return isAsleep || key === HEADER.STATE
          ? { async: true, value: NEVER }
          : { async: false, value: "not-equal" };
      }
      if (kind === "wait") {
        return this.access(kind, key, a, b) === 0 ? "not-equal" : "ok";
      }
      if (kind === "notify") {
        const count = Number.isFinite(a) && a > 0 ? a : 1024;
        return this.access(kind, key, count, 0);
      }
      // As an array of integers does.
      if (kind === "set" && !isDouble(key)) a |= 0;
      return this.access(kind, key, a, b);
    };
    const before = accessBy(access);
    try {
      return runAs(this, () => watchArrays(act));
    } finally {
      accessBy(before);
    }
  }
}

const pools = new WeakMap<SharedPoolHandle, number>();
const NEVER = new Promise<never>(() => {});
const ignore = () => {};

/** Where a worker stands: the access that it makes next, if any, and what it has in hand. */
export interface Node {
  readonly id: number;
  readonly step: Step | undefined;
  readonly parent: Node | undefined;
  /** What the access of the parent gave. */
  readonly result: number;
  /** Accesses made. */
  readonly count: number;
  readonly next: Map<number, Node>;
  /** Its id in the pool, or 0. */
  readonly workerId: number;
  readonly holds: readonly number[];
  readonly adopted: readonly number[];
  readonly hasViews: boolean;
  readonly failure: string | undefined;
}

/**
 * In the place of a result: the one before, as often as the same access is made again. A worker that spins
 * on a word that does not change gives up then.
 */
export const SPIN = NaN;

/** Whether a worker has made its next access twice already, for nothing. */
export function spins({ step, parent, result }: Node): boolean {
  const before = parent?.parent;
  return step !== undefined && before != null &&
    isSame(step, parent!.step!) && isSame(step, before.step!) &&
    parent!.result === result &&
    step.kind === "compareExchange" && step.a !== result;
}

function isSame(one: Step, other: Step): boolean {
  return one.kind === other.kind && one.word === other.word &&
    one.a === other.a && one.b === other.b;
}

/** What a worker does: what comes first alone, and what is then explored. */
export interface Program {
  readonly first: (hand: Hand) => void;
  readonly then: (hand: Hand) => void;
}

/** A worker at the end of its program, whose accesses are then carried out on a ground. */
export interface Rest {
  readonly hand: Hand;
  stand(ground: Ground): void;
}

/** What the access of a new node will most likely give; `undefined` if that is not known. */
export type Guess = (node: Node) => number | undefined;

/** One worker of one configuration, and all that is known of where it can stand. */
export class Worker {
  readonly #index: number;
  readonly #program: Program;
  readonly #handle: () => SharedPoolHandle;
  readonly #words: WordTable;
  /** What the accesses before the exploration gave. */
  readonly #before: number[] = [];
  #root: Node | undefined;
  /** Nodes made, by all workers. */
  static nodes = 0;

  constructor(
    index: number,
    program: Program,
    handle: () => SharedPoolHandle,
    words: WordTable,
  ) {
    this.#index = index;
    this.#program = program;
    this.#handle = handle;
    this.#words = words;
  }

  /** Does what comes first, on this ground. */
  start(ground: Ground): void {
    const noting: Ground = {
      access: (kind, key, a, b) => {
        const result = ground.access(kind, key, a, b);
        this.#before.push(result);
        return result;
      },
    };
    const hand = new Hand(this.#index, noting, this.#handle);
    hand.as(() => this.#program.first(hand));
  }

  /** Where it stands at first. */
  root(guess: Guess): Node {
    return this.#root ??= this.#run(undefined, 0, guess);
  }

  /**
   * Where it stands when its access at `node` gives `result`. If that is new the program runs, and goes on
   * as long as `guess` tells what its accesses give: most of what it comes to is asked for soon.
   */
  next(node: Node, result: number, guess: Guess): Node {
    return node.next.get(result) ?? this.#run(node, result, guess);
  }

  /** Runs the program to a node, where its accesses are done on what is then set as the ground. */
  goOn({ parent, result }: Node): Rest {
    const replay = new Replay(this.#words, this.#before, parent, result);
    const hand = new Hand(this.#index, replay, this.#handle);
    this.#play(replay, hand);
    return { hand, stand: (ground) => replay.ground = ground };
  }

  #run(from: Node | undefined, given: number, guess: Guess): Node {
    let first: Node | undefined;
    let parent = from;
    let result = given;
    const meet = (step: Step | undefined): number | undefined => {
      const node: Node = {
        id: Worker.nodes++,
        step,
        parent,
        result,
        count: replay.count,
        next: new Map(),
        workerId: hand.parts?.worker ?? 0,
        holds: hand.holds,
        adopted: hand.adopted,
        hasViews: hand.viewBytes > 0,
        failure: hand.failure,
      };
      parent?.next.set(result, node);
      first ??= node;
      if (step === undefined) return undefined;
      this.#words.note(step.word, this.#index, step.kind);
      const guessed = guess(node);
      if (guessed === undefined) return undefined;
      parent = node;
      return result = guessed;
    };
    const replay = new Replay(this.#words, this.#before, from, given, meet);
    const hand = new Hand(this.#index, replay, this.#handle);
    this.#play(replay, hand);
    if (!replay.isStopped) meet(undefined);
    return first!;
  }

  #play(replay: Replay, hand: Hand): void {
    try {
      hand.as(() => {
        this.#program.first(hand);
        this.#program.then(hand);
      });
    } catch (error) {
      if (!replay.isStopped) hand.failure = `throws ${error}`;
    }
  }
}

/** Gives a program again what its accesses gave; those that are new are met, or stop it. */
class Replay implements Ground {
  readonly #words: WordTable;
  readonly #before: readonly number[];
  readonly #meet: (step: Step) => number | undefined;
  readonly #path: { readonly step: Step; readonly result: number }[] = [];
  /** Accesses before the exploration that were given again. */
  #given = 0;
  #at = 0;
  /** Accesses of the exploration. */
  count = 0;
  isStopped = false;
  ground: Ground | undefined;

  constructor(
    words: WordTable,
    before: readonly number[],
    parent: Node | undefined,
    result: number,
    meet: (step: Step) => number | undefined = () => undefined,
  ) {
    this.#words = words;
    this.#before = before;
    this.#meet = meet;
    while (parent !== undefined) {
      this.#path.push({ step: parent.step!, result });
      ({ parent, result } = parent);
    }
    this.#path.reverse();
  }

  access(kind: Kind, key: number, a: number, b: number): number {
    if (this.ground !== undefined) return this.ground.access(kind, key, a, b);
    // What has stopped does not tidy up, whatever stands in a "finally".
    if (this.isStopped) throw STOP;
    if (this.#given < this.#before.length) return this.#before[this.#given++]!;
    const step = { kind, word: this.#words.word(key), a, b };
    const path = this.#path;
    if (this.#at < path.length && Number.isNaN(path[this.#at]!.result)) {
      const { step: last, result } = path[this.#at - 1]!;
      if (isSame(step, last)) {
        this.count++;
        return result;
      }
      this.#at++;
    }
    const result = this.#at < path.length
      ? path[this.#at++]!.result
      : this.#meet(step);
    if (result === undefined) {
      this.isStopped = true;
      throw STOP;
    }
    this.count++;
    return result;
  }
}
