// Makes every call of the fuzz, counts what came of it, and knows which errors are none of ours.

import { SmritiError } from "@smriti/pool";
import { Planted } from "./junk.ts";

/** An error no caller should ever see: the library stumbled instead of refusing. */
const STUMBLE =
  /undefined|null|not a function|not iterable|detached|circular|BigInt|Symbol/;
/** What V8 says about what an argument does by itself. */
const OWN_DOING = /Illegal invocation|has been revoked|trap/;
/** Name of calls on a `this` that is no pool: V8 answers them. */
export const WRONG_THIS = "a method of something else";

/** Counts of one run. */
export class Tally {
  calls = 0;
  succeeded = 0;
  /** Promises not yet settled. */
  pending = 0;
  readonly codes = new Map<string, number>();
  /** The first thing that must not happen. */
  failure: Error | undefined;
  readonly #recent: string[] = [];

  /** Calls something that answers at once. */
  call<T>(name: string, fn: () => T): T | undefined {
    this.#note(name);
    try {
      const result = fn();
      this.succeeded++;
      return result;
    } catch (error) {
      this.#judge(name, error);
      return undefined;
    }
  }

  /** Calls something that answers by a promise. */
  ask<T>(
    name: string,
    fn: () => PromiseLike<T>,
    then: (value: T) => void = () => {},
  ): void {
    this.#note(name);
    this.pending++;
    let promise: PromiseLike<T>;
    try {
      promise = fn();
    } catch (error) {
      this.pending--;
      return this.#judge(name, error);
    }
    Promise.resolve(promise).then((value) => {
      this.pending--;
      this.succeeded++;
      try {
        then(value);
      } catch (error) {
        this.fail(name, error);
      }
    }, (error) => {
      this.pending--;
      this.#judge(name, error);
    });
  }

  /** Counts a result that came some other way. */
  saw(code: string, times = 1): void {
    this.codes.set(code, (this.codes.get(code) ?? 0) + times);
  }

  /** Notes that something is wrong with the library. */
  fail(what: string, cause: unknown): void {
    const recent = this.#recent.slice(-30).join("\n  ");
    this.failure ??= new Error(
      `${what}: ${cause instanceof Error ? cause.message : cause}\n` +
        `the last calls were\n  ${recent}`,
      { cause },
    );
  }

  /** Throws what was noted by `fail`. */
  check(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  #note(name: string): void {
    this.calls++;
    if (this.#recent.length > 2000) this.#recent.splice(0, 1900);
    this.#recent.push(name);
  }

  #judge(name: string, error: unknown): void {
    if (error instanceof SuppressedError) {
      this.#judge(name, error.error);
      return this.#judge(name, error.suppressed);
    }
    if (error instanceof SmritiError) return this.saw(error.code);
    if (error instanceof Planted) return this.saw("our own");
    if (error instanceof DOMException) return this.saw(error.name);
    if (error instanceof Deno.errors.Interrupted) return this.saw("our own");
    if (error instanceof RangeError) return this.saw("RangeError");
    if (!(error instanceof TypeError)) return this.fail(name, error);
    this.saw("TypeError");
    const { message } = error;
    // "must be …, got undefined" is ours.
    const told = /must|unknown|not by new/.test(message);
    const isOwn = name === WRONG_THIS || OWN_DOING.test(message);
    if (!told && !isOwn && STUMBLE.test(message)) {
      this.fail(name, error);
    }
  }
}
