// A backend that refuses at random what the one behind it would have done.

import type { Backend, Code, Range } from "../../ffi/backend.ts";
import { openNative, replaceNative } from "../../ffi/open.ts";
import type { Rng } from "../support/rng.ts";

/** What may be refused. `unmap` is not among them: it would leak for real. */
export type Refusable = "map" | "commit" | "decommit" | "protect" | "prefault";

const ENOMEM: Code = 12;

/** This system's backend; throws where there is none. */
export function native(): Backend {
  const found = openNative();
  if ("reason" in found) throw new Error(found.detail);
  return found;
}

/** Refuses each of its calls with a probability of its own. */
export class Chaos implements Backend {
  readonly kind = "native";
  readonly abilities: Backend["abilities"];
  /** Refusals so far. */
  injected = 0;
  readonly #inner: Backend;
  readonly #rng: Rng;
  readonly #odds: Readonly<Partial<Record<Refusable, number>>>;
  #calm = false;

  /** Refuses nothing that is not in `odds`. */
  constructor(
    rng: Rng,
    odds: Readonly<Partial<Record<Refusable, number>>>,
    inner: Backend = native(),
  ) {
    this.#rng = rng;
    this.#odds = odds;
    this.#inner = inner;
    this.abilities = inner.abilities;
  }

  /** Refuses nothing any more. */
  calm(): void {
    this.#calm = true;
  }

  /** Makes something, during which this is the native backend. */
  during<T>(make: () => T): T {
    const restore = replaceNative(this);
    try {
      return make();
    } finally {
      restore();
    }
  }

  map(size: number, alignment: number): Range | Code {
    return this.#refuses("map") ? ENOMEM : this.#inner.map(size, alignment);
  }

  commit(range: Range, offset: number, size: number, huge: boolean): Code {
    return this.#refuses("commit")
      ? ENOMEM
      : this.#inner.commit(range, offset, size, huge);
  }

  decommit(range: Range, offset: number, size: number): Code {
    return this.#refuses("decommit")
      ? ENOMEM
      : this.#inner.decommit(range, offset, size);
  }

  protect(range: Range, offset: number, size: number, ok: boolean): Code {
    return this.#refuses("protect")
      ? ENOMEM
      : this.#inner.protect(range, offset, size, ok);
  }

  prefault(range: Range, offset: number, size: number): Promise<Code> {
    return this.#refuses("prefault")
      ? Promise.resolve(-1)
      : this.#inner.prefault(range, offset, size);
  }

  unmap(range: Range): Code {
    return this.#inner.unmap(range);
  }

  view(range: Range, offset: number, size: number): ArrayBuffer {
    return this.#inner.view(range, offset, size);
  }

  pointer(range: Range, offset: number): Deno.PointerObject | null {
    return this.#inner.pointer(range, offset);
  }

  isAt(range: Range, offset: number, buffer: ArrayBuffer): boolean {
    return this.#inner.isAt(range, offset, buffer);
  }

  errorName(code: Code): string {
    return this.#inner.errorName(code);
  }

  #refuses(what: Refusable): boolean {
    const odds = this.#odds[what];
    if (this.#calm || odds === undefined || !this.#rng.chance(odds)) {
      return false;
    }
    this.injected++;
    return true;
  }
}
