/**
 * Messages of a pool for which there is no caller and no listener, on the console.
 *
 * Never throws: showing an error may run code of its own, and the program may have replaced the
 * console. Decides nothing.
 */

/** Prints a warning. */
export function warn(text: string): void {
  try {
    console.warn(text);
  } catch {
    // The program's own console has failed.
  }
}

/** Prints an error, after what it is about if that is given. */
export function complain(error: unknown, ...about: string[]): void {
  try {
    console.error(...about, error);
  } catch {
    try {
      console.error(...about, "an error that cannot be shown");
    } catch {
      // As in `warn`.
    }
  }
}

const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** Makes `console.log` show instances of a class as `line` says. Not in the class's type: not an API. */
export function showAs<T>(prototype: T, line: (instance: T) => string): void {
  Object.defineProperty(prototype, INSPECT, {
    value(this: T): string {
      return line(this);
    },
  });
}
