/**
 * Room on the call stack, asked for before a change of many steps, so that it cannot be cut short.
 *
 * As in `pool/headroom.ts`, which is not public. The pool asks for its own room inside these steps, so
 * more is asked for here. After an `await` the stack is empty, and nothing has to be asked.
 */

/** Words that must fit: 48 KiB for the pool, and 16 KiB for the calls down to it. */
const WORDS = 8192;

const ARGUMENTS: readonly number[] = Array.from({ length: WORDS }, () => 0);
const { apply } = Reflect;

/** A resolved promise: a function given to its `then` runs once the stack is empty. */
export const UNWOUND: Promise<void> = Promise.resolve();

/**
 * Throws unless 64 KiB of stack are left. Takes one to several microseconds.
 *
 * @throws {RangeError} V8's own, when the stack is about to end
 */
export function askHeadroom(): void {
  apply(nothing, undefined, ARGUMENTS);
}

/** Whether so much is left, for what can also wait until the stack is empty. */
export function hasHeadroom(): boolean {
  try {
    askHeadroom();
    return true;
  } catch {
    return false;
  }
}

function nothing(): void {}
