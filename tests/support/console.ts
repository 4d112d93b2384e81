// What was written to `console.error`, instead of writing it.

/** Catches `console.error` until disposed. */
export function catchErrors(): Disposable & { readonly lines: unknown[][] } {
  const { error } = console;
  const lines: unknown[][] = [];
  console.error = (...args) => void lines.push(args);
  return {
    lines,
    [Symbol.dispose]: () => {
      console.error = error;
    },
  };
}
