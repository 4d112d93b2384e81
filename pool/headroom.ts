/**
 * Room on the call stack, asked for before a change begins, so that the change cannot be cut short.
 *
 * `RangeError: Maximum call stack size exceeded` comes at a call, never between two stores. The hot
 * paths therefore end in stores without a call among them. Every other public call asks here first.
 */

/** Words that must fit on the stack: several times what the deepest call of a pool takes. */
const WORDS = 512;

const ARGUMENTS: readonly number[] = Array.from({ length: WORDS }, () => 0);
const { apply } = Reflect;

/**
 * Throws unless 4 KiB of stack are left: V8 checks the stack before it copies the arguments of a call
 * there, compiled or interpreted. Takes about as long as making a small typed array.
 *
 * @throws {RangeError} V8's own, when the stack is about to end
 */
export function headroom(): void {
  apply(nothing, undefined, ARGUMENTS);
}

function nothing(): void {}
