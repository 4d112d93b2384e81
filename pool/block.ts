/**
 * The user's handle for one lease of one slot.
 *
 * A handle has one field. When the lease ends the handle is parted from the slot, so a stale handle
 * cannot reach the next lease, whatever is done with it. Everything else is asked of the owner.
 */
import { boolean, callable, integer, quote, record, show } from "./checks.ts";
import { EMPTY_STACK } from "./headroom.ts";
import { showAs } from "./console.ts";
import {
  type BlockTicket,
  LEASE_ENDED,
  LEASE_HELD,
  type Owner,
  type Settled,
  Slot,
} from "./slot.ts";

/** What is known about an operation that a block is lent to. */
export interface LendOptions {
  /**
   * The operation is on a socket, a request or a fetch body: when it rejects it has let go of the
   * memory. Without it, a rejection with `Interrupted` abandons the block. Default false.
   */
  socket?: boolean | undefined;
}

/** A hot constant: see ARCHITECTURE.md. */
const HOT_HELD = LEASE_HELD;

/** The most nested errors that are inspected; an error with more counts as an interruption. */
const MOST_CAUSES = 10_000;

const LEND_NAMES: ReadonlySet<keyof LendOptions> = new Set(["socket"]);

/** The argument without which the constructor throws; this file alone has it. */
const INSIDE = Symbol("inside");

/** A handle for a lease of this slot. */
export let blockOf: (slot: Slot) => Block;
/** The slot behind a block, or `undefined` for anything else. */
export let slotOf: (block: unknown) => Slot | undefined;
/** Parts a handle from its slot, whose lease has just ended. */
export let part: (block: Block) => void;

/**
 * One lease of one block of memory.
 *
 * Made by a pool's `acquire` and its relatives, never by `new`. Release it with
 * {@linkcode Block.release} or let `using` do so.
 *
 * @example Borrow, use, give back
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 *
 * using pool = new BlockPool({ blockSize: 4096, maxBlocks: 8 });
 * using block = await pool.acquire();
 * block.bytes[0] = 1;
 * ```
 */
export class Block {
  #slot: Slot;
  /**
   * The slot's token for leak detection. During a lease this handle alone holds it, so that both are
   * collected together.
   */
  #token: object | undefined;

  static {
    showAs(Block.prototype, (block) => block.#line());
    blockOf = (slot) => new Block(INSIDE, slot);
    slotOf = (block) =>
      typeof block === "object" && block !== null && #slot in block
        ? block.#slot
        : undefined;
    part = (block) => {
      const slot = block.#slot;
      if (slot.state !== LEASE_ENDED) return;
      const ended = slot.tag === undefined ? slot.owner.ended : endedOf(slot);
      slot.token = block.#token;
      block.#token = undefined;
      block.#slot = ended;
    };
  }

  private constructor(inside: symbol, slot: Slot) {
    if (inside !== INSIDE) {
      throw new TypeError("blocks are made by a pool's acquire(), not by new");
    }
    this.#slot = slot;
    this.#token = slot.token;
  }

  /**
   * The block's memory: exactly `size` bytes, over an ArrayBuffer of its own.
   *
   * If something detached it (a BYOB read, a transfer), a new view of the same memory is made; the
   * lease then counts as escaped until {@linkcode Block.reattach}. Costs about 1 ns, 1 µs when a
   * view must be made.
   *
   * @throws {SmritiError} `released` after the lease has ended; `lent` while detached by a running
   * operation
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    const slot = this.#slot;
    const view = slot.view;
    if (view.length === 0) return slot.owner.view(slot);
    slot.touched = true;
    slot.used[slot.index] = 1;
    return view;
  }

  /**
   * The first bytes of the block, for a small part of a large one: where that saves more than 256 KiB
   * from being cleared, they are in an ArrayBuffer of exactly this length. As long as nothing else of
   * the lease is used (`bytes`, `pointer`, `lend` with a function, `first` of another length), nothing
   * behind them can have been written, and release clears no more than them. In all other cases, also
   * `zero: false`, any `safety` but `"revoke"`, a shared pool and the heap backend, they are a part of
   * {@linkcode Block.bytes}. Costs about 0.5 µs more than that.
   *
   * A buffer of their own does not come back if it is transferred: the block is then abandoned at
   * release.
   *
   * @param length How many, an integer from 0 to `size`
   * @throws {RangeError} if `length` is out of range
   * @throws {SmritiError} as {@linkcode Block.bytes}
   */
  first(length: number): Uint8Array<ArrayBuffer> {
    const slot = this.#slot;
    const { owner } = slot;
    integer("length", length, 0, owner.blockSize);
    return owner.first(slot, length);
  }

  /** Bytes in the block: the pool's `blockSize`. */
  get size(): number {
    return this.#slot.owner.blockSize;
  }

  /** The label given to `acquire`, or `undefined`. */
  get tag(): string | undefined {
    return this.#slot.tag;
  }

  /** Whether the lease has ended: released, abandoned, or revoked by `close`. */
  get released(): boolean {
    return this.#slot.state !== LEASE_HELD;
  }

  /**
   * Address of the first byte, for your own FFI calls. The pool cannot see what they do: release
   * the block after they have returned.
   *
   * @throws {SmritiError} `released`; `unsupported` on the heap backend
   */
  get pointer(): Deno.PointerObject {
    return this.#slot.owner.pointer(this.#slot);
  }

  /**
   * Runs native I/O on the block: it cannot be reused before the operation settles, whatever
   * becomes of the handle. Several may run; a release meanwhile takes effect after the last.
   *
   * If the operation rejects with `Deno.errors.Interrupted`, also inside of another error, such as
   * its `cause` (a file or stdin that was closed during a read), it may still be writing, so the
   * block is abandoned, unless `socket` is set.
   * A BYOB read takes the block's buffer along; if the operation gives the read's result, or the
   * view in it, the buffer is taken back at once. Anything else goes through
   * {@linkcode Block.reattach}. With `socket`, a failed or cancelled BYOB read costs no block if
   * `operation` is a function that began the read in the very call.
   *
   * @param operation A promise that is using the block's memory, or a function that is given
   * `bytes` and returns one
   * @returns What the operation gives
   * @throws {TypeError} (as a rejection) if the function gives `undefined`, as one does that forgets to
   * return: what it began may be running, so the block is abandoned. A promise of `undefined` is fine
   * @throws {SmritiError} (as a rejection) `released`, `lent`
   */
  async lend<T>(
    operation:
      | PromiseLike<T>
      | ((bytes: Uint8Array<ArrayBuffer>) => T | PromiseLike<T>),
    options?: LendOptions,
  ): Promise<T> {
    let socket: boolean;
    let slot: Slot;
    try {
      socket = checkLend(operation, options);
      // Looked at after the options, which may have run code that ended the lease.
      slot = this.#slot;
      if (slot.state !== LEASE_HELD) slot.owner.refuse(slot, "use");
    } catch (error) {
      // The promise is refused, not handled: its own failure must not end the process.
      if (isThenable(operation)) Promise.resolve(operation).catch(() => {});
      throw error;
    }
    // Before `lendStarts`: a buffer that left earlier is not this operation's.
    const bytes = typeof operation === "function" ? this.bytes : undefined;
    slot.owner.lendStarts(slot, this);
    // The safe assumption until the operation has settled: an exception below must not free memory that
    // is being written to.
    let settled: Settled = "running";
    // The view whose buffer the operation has taken along, to let go of it when it fails.
    let taken: Uint8Array | undefined;
    let result: T | undefined;
    let isKnown = true;
    try {
      const pending = typeof operation === "function"
        ? operation(bytes!)
        : operation;
      isKnown = pending !== undefined;
      if (!isKnown) {
        throw new TypeError(
          "the function given to lend() must return the promise of what it began, got undefined: " +
            "nothing tells when that ends, so the block was abandoned",
        );
      }
      // Only a buffer that went within this very call is known to be the operation's.
      if (socket && bytes?.length === 0) taken = bytes;
      result = await pending;
      settled = "fulfilled";
      if (taken !== undefined && !isCancelled(result)) taken = undefined;
      return result;
    } catch (error) {
      // The error may be the end of the stack. After an await the stack is empty.
      await undefined;
      if (isKnown && (socket || !mayRunOn(error))) settled = "rejected";
      throw error;
    } finally {
      slot.owner.lendEnds(slot, settled, result, taken);
    }
  }

  /**
   * Takes back a buffer that had left the block, as the view a BYOB read returns.
   *
   * @param view Any view over the whole of the block's memory: same address, full length
   * @throws {TypeError} if it is no view
   * @throws {SmritiError} `released`; `foreign-block` if it is other memory or detached
   */
  reattach(view: ArrayBufferView): void {
    if (!ArrayBuffer.isView(view)) {
      throw new TypeError(`view must be an ArrayBufferView, got ${show(view)}`);
    }
    this.#slot.owner.reattach(this.#slot, view);
  }

  /**
   * Ends this lease and makes a ticket of it: the isolate of this process that calls `adopt` with the
   * ticket first goes on with the same memory and contents. Views here are revoked.
   *
   * @returns A plain value that `postMessage` can send, good for one `adopt`
   * @throws {SmritiError} `released`; `lent` while an operation has the block; `unsupported` unless
   * the block is of a `SharedBlockPool`
   */
  detach(): BlockTicket {
    const slot = this.#slot;
    const { owner } = slot;
    const after = slot.tag === undefined ? owner.ended : endedOf(slot);
    const ticket = owner.detach(slot);
    // As in `release`: stores only.
    slot.token = this.#token;
    this.#token = undefined;
    this.#slot = after;
    return ticket;
  }

  /**
   * Gives the block up for good: for memory that may still be written to. It stays mapped with its
   * bytes, also after `close()`, and `stats().abandonedBlocks` counts it. A fresh block takes its place,
   * as long as `maxAbandonedBytes` allows; then the pool's capacity is one less. Does nothing on an
   * abandoned block.
   *
   * @throws {SmritiError} `released` if the lease has ended by a release
   */
  abandon(): void {
    const slot = this.#slot;
    const { owner } = slot;
    if (!owner.abandon(slot)) return;
    try {
      owner.released(slot);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      // As in `release`.
      EMPTY_STACK.then(owner.released.bind(owner, slot));
    }
  }

  /**
   * Ends the lease. The memory is zeroed and its views revoked as the pool's options say, then it
   * goes to the first waiter or becomes free. Does nothing on an abandoned block.
   *
   * @param usedBytes Zero only this many bytes from the start, an integer from 0 to `size`: you
   * vouch that the rest was not written
   * @throws {RangeError} if `usedBytes` is out of range; nothing has happened then
   * @throws {SmritiError} `released` if the lease has ended before
   */
  release(usedBytes?: number): void {
    const slot = this.#slot;
    const { owner } = slot;
    if (usedBytes !== undefined) checkUsed(usedBytes, owner);
    if (slot.state !== HOT_HELD) return owner.refuse(slot, "release");
    const ended = slot.tag === undefined ? owner.ended : endedOf(slot);
    const tells = owner.release(slot, usedBytes);
    // Stores only: a call that throws among them would leave a lease without a handle.
    slot.token = this.#token;
    this.#token = undefined;
    this.#slot = ended;
    if (!tells) return;
    try {
      owner.released(slot);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      // The end of the stack, but the lease has ended already: the pool is told once the stack is
      // empty. By `bind`: with a closure each release would allocate a context.
      EMPTY_STACK.then(owner.released.bind(owner, slot));
    }
  }

  /** Releases the block if its lease has not ended yet. */
  [Symbol.dispose](): void {
    if (this.#slot.state === LEASE_HELD) this.release();
  }

  /**
   * A block is no text: `new Response(block)` would send a few letters instead of its memory.
   *
   * @throws {TypeError} always
   */
  toString(): never {
    throw new TypeError(
      "a block cannot be turned into a string or a number: use block.bytes",
    );
  }

  #line(): string {
    const tag = this.tag === undefined ? "" : ` ${quote(this.tag)}`;
    const state = this.released ? "ended" : "held";
    return `Block(${this.size} bytes${tag}, ${state})`;
  }
}

function checkUsed(usedBytes: number, { blockSize }: Owner): void {
  integer("usedBytes", usedBytes, 0, blockSize);
}

/** What the handle of an ended lease points to if it had a tag to remember. */
function endedOf(slot: Slot): Slot {
  const ended = new Slot(slot.owner, slot.index, slot.used);
  ended.state = LEASE_ENDED;
  ended.tag = slot.tag;
  ended.since = slot.note?.since ?? slot.since;
  return ended;
}

/** Whether it is what a BYOB read gives whose stream was cancelled: no view, and none to come. */
function isCancelled(result: unknown): boolean {
  if (typeof result !== "object" || result === null) return false;
  try {
    const { done, value } = result as { done?: unknown; value?: unknown };
    return done === true && value === undefined;
  } catch {
    // Not known to be cancelled. The caller gets it as it is.
    return false;
  }
}

/**
 * Whether what failed may go on writing: a file read that was interrupted, as it is or inside of
 * another error, as its cause, as one of several, or suppressed by what a `using` did.
 */
function mayRunOn(error: unknown): boolean {
  try {
    // Iterating a Set visits also what is added meanwhile, and each once.
    const found = new Set<unknown>([error]);
    for (const each of found) {
      if (isInterrupted(each)) return true;
      if (!(each instanceof Error)) continue;
      found.add(each.cause);
      // A SuppressedError; not every runtime has the class.
      if ("suppressed" in each && "error" in each) {
        found.add(each.error).add(each.suppressed);
      } else if (each instanceof AggregateError) {
        const { errors } = each;
        if (!Array.isArray(errors) || errors.length > MOST_CAUSES) return true;
        for (const one of errors) found.add(one);
      }
      if (found.size > MOST_CAUSES) return true;
    }
    return false;
  } catch {
    // An error that cannot be inspected may be an interruption.
    return true;
  }
}

/** Whether it is Deno's error for an operation whose file was closed under it; others have none. */
function isInterrupted(error: unknown): boolean {
  return "Deno" in globalThis && error instanceof Deno.errors.Interrupted;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value;
}

function checkLend(operation: unknown, options: unknown): boolean {
  if (!isThenable(operation)) {
    callable("operation", operation, "a function or a promise");
  }
  if (options === undefined) return false;
  const { socket } = record("options", options, LEND_NAMES);
  return socket === undefined ? false : boolean("socket", socket);
}
