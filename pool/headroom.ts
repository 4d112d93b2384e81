/**
 * Room on the call stack, asked for before a change of many steps, so that it cannot be cut short.
 *
 * `RangeError: Maximum call stack size exceeded` comes at a call, never between two stores. What runs
 * often is therefore ordered: all that can fail comes first, stores without a call among them last. What
 * is rare (growing, trimming, closing, quarantine) asks here instead.
 */

/** Words that must fit: 40 KiB, without which V8 compiles no function, and 8 KiB for the calls. */
const WORDS = 6144;

const ARGUMENTS: readonly number[] = Array.from({ length: WORDS }, () => 0);
const { apply } = Reflect;

/**
 * A resolved promise: a function given to its `then` runs once the stack is empty. A builtin needs no
 * stack of its own, so what does not fit any more can still be deferred.
 */
export const EMPTY_STACK: Promise<void> = Promise.resolve();

/**
 * Throws unless 48 KiB of stack are left: V8 checks the stack before it copies the arguments of a call
 * there, compiled or interpreted. Takes one to several microseconds.
 *
 * @throws {RangeError} V8's own, when the stack is about to end
 */
export function headroom(): void {
  apply(nothing, undefined, ARGUMENTS);
}

function nothing(): void {}
