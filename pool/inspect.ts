/**
 * What `console.log` shows of an object: one line instead of its insides, in Deno, Node and Bun.
 */

const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/** Makes `console.log` show instances of a class as `line` says. Not in the class's type: not an API. */
export function showAs<T>(prototype: T, line: (instance: T) => string): void {
  Object.defineProperty(prototype, INSPECT, {
    value(this: T): string {
      return line(this);
    },
  });
}
