/**
 * What a worker does while acquires wait in it: listens for notifications, tries again in case one went
 * to a worker that died, claims a turn when it was passed over, and looks for dropped blocks.
 *
 * Keeps the process alive only while acquires wait. `acquireBlocking` waits by stopping the thread.
 */
import type { Block } from "../pool/block.ts";
import { refuseAborted } from "../pool/channel.ts";
import { askForCollection } from "../pool/collection.ts";
import { type Dispatcher, isNever, oneNow } from "../pool/dispatcher.ts";
import { EMPTY_STACK, headroom } from "../pool/headroom.ts";
import { type AcquireOptions, checkAcquire } from "../pool/options.ts";
import type { Counters } from "../pool/stats.ts";
import { isAwaited, type Notifier, RETRY_MS } from "./notifier.ts";
import { type Control, WORKER } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import type { SharedSlotAcquirer } from "./shared_slot_acquirer.ts";
import type { SharedLeases } from "./shared_leases.ts";
import type { SharedSlots } from "./shared_slots.ts";

/** Attempts of `acquireBlocking` between two housekeepings: a quarter of a second. */
const TRIES_A_LOOK = 10;
/**
 * How long one wait for a notification lasts at most, in ms: then the loop sees whether acquires still
 * wait.
 */
const LISTEN_MS = 1000;

/** What a wait loop works with. */
export interface WaitLoopParts {
  readonly options: SharedFilledOptions;
  readonly control: Control;
  readonly worker: number;
  readonly notifier: Notifier;
  readonly slots: SharedSlots;
  readonly leases: SharedLeases;
  readonly counters: Counters;
  readonly acquirer: SharedSlotAcquirer;
  readonly dispatcher: Dispatcher;
  /** The housekeeping of this worker. */
  readonly keepHouse: () => void;
}

/** The wait loop of one worker. */
export class WaitLoop {
  readonly #parts: WaitLoopParts;
  readonly #words: Int32Array;
  readonly #waitingAt: number;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #listening = false;
  /** Blocks freed by all workers, at the last look for dropped ones. */
  #freed = 0;
  /** The waiter that was first at the last retry. */
  #patient: object | undefined;

  /** Acts for one worker id. */
  constructor(parts: WaitLoopParts) {
    this.#parts = parts;
    this.#words = parts.control.words;
    this.#waitingAt = parts.control.at(parts.worker, WORKER.WAITING);
  }

  /**
   * So many acquires wait here now: tells the control block and the notifier, and keeps the process
   * alive.
   */
  update(waiting: number): void {
    this.#words[this.#waitingAt] = waiting;
    const waits = waiting > 0;
    if (waits === (this.#keepAlive !== undefined)) return;
    const { notifier, dispatcher } = this.#parts;
    if (waits) {
      this.#keepAlive = setInterval(() => this.#retry(), RETRY_MS);
      notifier.listen(true);
      // No notification came here of what became free before.
      if (this.#listening) return dispatcher.pump();
      // With all of the stack: what a promise that nothing awaits rejects with ends the process.
      EMPTY_STACK.then(() => this.#listen());
      this.#listening = true;
    } else {
      clearInterval(this.#keepAlive);
      this.#keepAlive = undefined;
      notifier.listen(false);
      notifier.dropTurn();
    }
  }

  /**
   * A block, stopping the thread until there is one. Overtakes those that wait in this isolate: they
   * could do nothing with a block before the thread goes on.
   */
  acquireBlocking(options: AcquireOptions): Block {
    const { signal, timeoutMs = Infinity, reserved = false, tag } =
      checkAcquire(options);
    const request = oneNow(reserved, tag);
    const { notifier, acquirer, dispatcher, counters } = this.#parts;
    headroom();
    dispatcher.refuseIfClosed();
    refuseAborted(signal);
    dispatcher.refuseHopeless(request);
    const end = performance.now() + timeoutMs;
    const { stallMs } = this.#parts.options;
    let lookAt = performance.now() + stallMs;
    notifier.listen(true);
    const standing = { number: 0 as const, since: Date.now() };
    dispatcher.standing = standing;
    let hasWaited = false;
    try {
      for (let tries = 0;; tries++) {
        const { epoch } = notifier;
        const block = acquirer.acquire(request, tries === 0, isNever);
        if (block !== undefined) {
          dispatcher.acquired(false);
          return block as Block;
        }
        const left = end - performance.now();
        dispatcher.refuseIfClosed();
        if (left <= 0) {
          throw dispatcher.timedOut(
            `no block became free within ${timeoutMs} ms`,
          );
        }
        if (tries === 0) {
          hasWaited = true;
          counters.waits++;
        } else if (performance.now() >= lookAt) {
          lookAt += stallMs;
          dispatcher.lookForStall();
        }
        // No timer fires in a thread that is stopped.
        if (tries % TRIES_A_LOOK === TRIES_A_LOOK - 1) this.#parts.keepHouse();
        dispatcher.refuseIfClosed();
        dispatcher.refuseHopeless(request);
        if (tries > 1) notifier.claimTurn();
        notifier.sleep(epoch, Math.min(left, RETRY_MS));
      }
    } finally {
      dispatcher.standing = undefined;
      if (hasWaited) counters.waitMs.add(Date.now() - standing.since);
      notifier.dropTurn();
      if (dispatcher.waiting === 0) notifier.listen(false);
      // Not here: what it throws at the end of the stack would take the place of the block.
      else EMPTY_STACK.then(() => dispatcher.pump());
    }
  }

  /**
   * While acquires wait, here or elsewhere, and nothing is released, blocks held here may have been
   * dropped: asks for a collection, which finds them.
   */
  lookForDropped(): void {
    const { control, slots, leases } = this.#parts;
    const freed = control.total(WORKER.FREES);
    const isStill = freed === this.#freed;
    this.#freed = freed;
    if (
      isStill && leases.findsLeaks && slots.tally.held > 0 &&
      isAwaited(this.#words)
    ) askForCollection();
  }

  /** Serves waiters again, and claims a turn if the same one is first as last time. */
  #retry(): void {
    const { dispatcher, notifier } = this.#parts;
    dispatcher.abandoned();
    const { head } = dispatcher;
    if (head !== undefined && head === this.#patient) notifier.claimTurn();
    this.#patient = head;
  }

  /** Waits for notifications, as long as acquires wait here. */
  async #listen(): Promise<void> {
    const { notifier, dispatcher } = this.#parts;
    while (this.#keepAlive !== undefined) {
      const { epoch } = notifier;
      dispatcher.pump();
      if (this.#keepAlive === undefined) break;
      await notifier.notified(epoch, LISTEN_MS);
    }
    this.#listening = false;
    notifier.handOn();
  }
}
