// Lets whatever of the runtime can throw do so, one call at a time.

/** Thrown in place of what the runtime would do. */
export class Refused extends RangeError {}

/** Where a function is, and its name. */
// deno-lint-ignore no-explicit-any
export type Call = readonly [home: any, name: string];

/** What can throw: the permission was taken back, or something cannot grow. */
const CALLS: readonly Call[] = [
  [Deno.UnsafePointerView, "getArrayBuffer"],
  [Deno.UnsafePointer, "create"],
  [Deno.UnsafePointer, "of"],
  [Deno.UnsafePointer, "value"],
  [ArrayBuffer.prototype, "transfer"],
  [Object.getPrototypeOf(Uint8Array.prototype), "fill"],
  [FinalizationRegistry.prototype, "register"],
  [FinalizationRegistry.prototype, "unregister"],
  [Map.prototype, "set"],
  [Set.prototype, "add"],
  [Array.prototype, "push"],
  [globalThis, "setTimeout"],
  [globalThis, "setInterval"],
  [AbortSignal, "timeout"],
  [globalThis, "queueMicrotask"],
  [globalThis, "Uint8Array"],
];

const NATIVE: readonly unknown[] = [Deno.UnsafePointer, Deno.UnsafePointerView];

/** Lets the call of that number throw until `act` has settled; how many there were up to it. */
export async function failing(
  number: number,
  act: () => unknown,
  more: readonly Call[] = [],
): Promise<{ count: number; result: unknown; error: unknown }> {
  const calls = [...CALLS, ...more];
  const own = calls.map(([home, name]) => home[name]);
  let count = 0;
  let armed = true;
  let returned = false;
  const hit = (home: unknown) => {
    // After the call has returned only a permission can get lost: the rest is the event loop's, too.
    if (!armed || (returned && !NATIVE.includes(home))) return;
    if (count++ !== number) return;
    throw NATIVE.includes(home)
      ? new Deno.errors.NotCapable("taken back")
      : new Refused("refused");
  };
  calls.forEach(([home, name], at) => {
    const real = own[at];
    home[name] = new Proxy(real, {
      apply(target, self, args) {
        hit(home);
        return Reflect.apply(target, self, args);
      },
      construct(target, args, kind) {
        hit(home);
        return Reflect.construct(
          target,
          args,
          kind === home[name] ? real : kind,
        );
      },
    });
  });
  try {
    const result = act();
    returned = true;
    return { count, result: await result, error: undefined };
  } catch (error) {
    return { count, result: undefined, error };
  } finally {
    armed = false;
    calls.forEach(([home, name], at) => home[name] = own[at]);
  }
}
