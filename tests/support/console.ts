// What was written to the console, instead of writing it.

export interface Caught extends Disposable {
  /** The arguments of each call. */
  readonly lines: unknown[][];
}

/** Catches `console.error` until disposed. */
export function catchErrors(): Caught {
  return catchConsole("error");
}

/** Catches `console.warn` until disposed. */
export function catchWarnings(): Caught {
  return catchConsole("warn");
}

function catchConsole(method: "error" | "warn"): Caught {
  const { [method]: before } = console;
  const lines: unknown[][] = [];
  console[method] = (...args) => void lines.push(args);
  return {
    lines,
    [Symbol.dispose]: () => {
      console[method] = before;
    },
  };
}
