/**
 * Gives the memory of pools back that were not closed: at the end of their isolate, and when they have
 * become unreachable.
 *
 * Holds no pool: a pool in use is held by the program, and its timers hold it weakly.
 */
import { quote } from "./checks.ts";
import type { ViewBudget } from "./view_budget.ts";
import { type Ledger, tell } from "./ledger.ts";
import type { Region } from "./region.ts";

/** What is left of a pool that has become unreachable. Must not hold the pool. */
export interface Registration {
  readonly name: string;
  /** Where the pool was made. */
  readonly place: string;
  /** Gives its memory back; whether the program is to be told that the pool was left open. */
  readonly giveBack: () => boolean;
}

/** What is needed to give the memory of a pool of one isolate back without the pool. */
export interface PoolMemory {
  readonly region: Region;
  readonly ledger: Ledger;
  readonly views: ViewBudget;
  /** Whether views may be alive of slots that are not in use (`safety: "trust"`). */
  readonly hasStaleViews: boolean;
}

interface Dropped extends Registration {
  /** Takes the pool out of those that end with the isolate. */
  readonly settle: () => void;
}

/** How each open pool of this isolate ends with it. */
const open = new Set<() => void>();
const ends = new WeakMap<object, () => void>();
let listens = false;

const dropped = new FinalizationRegistry<Dropped>(
  ({ name, place, settle, giveBack }) => {
    settle();
    if (giveBack()) tell(`pool ${quote(name)} was dropped open`, place);
  },
);

/**
 * From now on the pool's memory goes back also without `close()`. `end` ends it at once, whatever
 * blocks are out; it must not hold the pool.
 */
export function enter<T extends object>(
  pool: T,
  registration: Registration,
  end: (pool: T) => void,
): void {
  if (!listens) {
    listens = true;
    // Workers get no event at their end (`sweep` serves them); runtimes without this event have no
    // isolates that end before them.
    globalThis.addEventListener?.("unload", endAll);
  }
  const ref = new WeakRef(pool);
  const endIt = () => {
    const it = ref.deref();
    if (it !== undefined) end(it);
  };
  open.add(endIt);
  ends.set(pool, endIt);
  dropped.register(
    pool,
    { ...registration, settle: () => open.delete(endIt) },
    pool,
  );
}

/** The pool has ended in order. */
export function unregisterPool(pool: object): void {
  dropped.unregister(pool);
  open.delete(ends.get(pool)!);
}

/** The isolate ends: silent, because an ordinary end of a program is one, too. */
function endAll(): void {
  for (const end of open) {
    try {
      end();
    } catch {
      // `corrupted`: a slot was reclaimed while this isolate ran. The other pools end nevertheless.
    }
  }
}

/** The pool and its handles are unreachable: memory goes back, but for slots in use. */
export function releaseMemory(
  { region, ledger, views, hasStaleViews }: PoolMemory,
): void {
  const { slabs, slabSlots } = region;
  const kept = new Set<number>();
  for (let slab = 0; slab < slabs; slab++) {
    const first = slab * slabSlots;
    if (ledger.isAnyUsed(first, first + slabSlots)) kept.add(slab);
  }
  if (hasStaleViews) {
    // SAFETY: a view that was kept reads zeroes; unmapped, it would end the process.
    for (let slab = 0; slab < slabs; slab++) {
      if (!kept.has(slab)) region.decommit({ first: slab, count: 1 });
    }
  } else {
    // SAFETY: what is not in use has views that only the pool had, which is gone.
    region.unmapBut(kept);
  }
  views.forget();
  ledger.close();
}
