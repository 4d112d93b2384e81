// A backend that refuses at random what the one behind it would have done.

import type { Backend, Code } from "../../../ffi/backend.ts";
import { openNative, replaceNative } from "../../../ffi/open.ts";
import type { Rng } from "../../support/rng.ts";

/** How likely each call is refused. `unmap` is not among them: it would leak for real. */
export type Odds = Partial<
  Record<"map" | "commit" | "decommit" | "protect" | "prefault", number>
>;

const ENOMEM: Code = 12;

/** Refuses calls of this system's native backend. */
export class Chaos {
  /** Refusals so far. */
  injected = 0;
  readonly #backend: Backend;
  #calm = false;

  /** Throws where there is no native backend. */
  constructor(rng: Rng, odds: Odds) {
    const inner = openNative();
    if ("reason" in inner) throw new Error(inner.detail);
    this.#backend = new Proxy(inner, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        const chance = odds[name as keyof Odds];
        // The backend's private fields are its own: `this` must be the real one.
        if (chance === undefined) return value.bind(target);
        return (...args: unknown[]) => {
          if (this.#calm || !rng.chance(chance)) {
            return Reflect.apply(value, target, args);
          }
          this.injected++;
          return ENOMEM;
        };
      },
    });
  }

  /** Refuses nothing any more. */
  calm(): void {
    this.#calm = true;
  }

  /** Makes something, during which this is the native backend. */
  during<T>(make: () => T): T {
    const restore = replaceNative(this.#backend);
    try {
      return make();
    } finally {
      restore();
    }
  }
}
