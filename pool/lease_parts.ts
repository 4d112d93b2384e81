/**
 * What leases ask of the slots of their pool, and what they tell the pool: the seams at which a
 * pool of one isolate and a shared pool differ.
 */
import type { Leak } from "./leaks.ts";

/** What leases need of the slots of a pool. */
export interface LeaseSlots {
  /** Slots ready to be lent. */
  readonly free: number;
  /** Slots ever taken. */
  readonly taken: number;
  /** A lease of the slot that was given for it begins now. */
  take(slot: number): void;
  /** Puts an acquired slot back; whether the pool must hear of it. */
  push(slot: number): boolean;
  /** Gives an acquired slot up for good. */
  abandon(slot: number): void;
  /** Gives a free slot up for good. */
  abandonFree(slot: number): void;
}

/** What the pool wants to know of. Called when the state is consistent again. */
export interface LeaseHooks {
  /** A lease has ended. */
  ended(): void;
  /** A slot left the pool for good. */
  lost(): void;
  /** A block was found unreachable; its slot is lost. */
  leaked(leak: Leak): void;
  /** One more operation holds the slot's memory, or one less. */
  lending?(slot: number, change: 1 | -1): void;
}
