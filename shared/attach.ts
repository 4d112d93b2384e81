/**
 * How an isolate attaches to a shared pool: as its maker, or by the pool handle.
 *
 * The range is mapped before any isolate can attach, and an isolate that cannot stay leaves no trace.
 */
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import { headroom } from "../pool/headroom.ts";
import type { ViewBudget } from "../pool/view_budget.ts";
import { Ledger, sweep } from "../pool/ledger.ts";
import {
  Control,
  HEADER,
  MAGIC,
  MOST_WORKERS,
  OPEN,
  VERSION,
} from "./control.ts";
import { mayCache } from "./cache.ts";
import { SharedShutdown } from "./shutdown.ts";
import {
  checkHome,
  markHome,
  readHandle,
  sealOf,
  type SharedPoolHandle,
} from "./handle.ts";
import { fillSharedOptions, type SharedPoolOptions } from "./options.ts";
import { assemble, type Attachment, type SharedParts } from "./assembly.ts";
import { WorkerRegistry } from "./worker_registry.ts";
import { SharedRegion } from "./shared_region.ts";

/** Makes a pool and attaches its first worker; `made` is the stack of the call. */
export function begin(given: SharedPoolOptions, made: string): SharedParts {
  headroom();
  const options = fillSharedOptions(given);
  const region = new SharedRegion(options);
  sweep();
  const pool = crypto.getRandomValues(new Int32Array(1))[0]!;
  const { ledger, place } = listed(region, options.name, made, pool);
  try {
    const control = new Control(options.maxBlocks);
    region.follow(control);
    const { words } = control;
    words[HEADER.NEXT_PLACE] = region.slabs * region.slabSlots;
    words[HEADER.MAGIC] = MAGIC;
    words[HEADER.VERSION] = VERSION;
    words[HEADER.SEAL] = sealOf(options, region.range);
    words[HEADER.POOL] = pool;
    words[HEADER.LEDGER] = place;
    words[HEADER.CACHES] = mayCache(options.reservedBlocks) ? 1 : 0;
    markHome(control);
    Atomics.store(words, HEADER.STATE, OPEN);
    const registry = new WorkerRegistry(control);
    const worker = registry.enter();
    const attachment = {
      options,
      region,
      ledger,
      made,
      control,
      registry,
      worker,
    };
    return assemble(attachment, true);
  } catch (error) {
    region.unmap();
    ledger.close();
    throw error;
  }
}

/** Attaches to a pool that is there. */
export function attach(handle: SharedPoolHandle, made: string): SharedParts {
  headroom();
  const { options, control: buffer, range } = readHandle(handle);
  // Before an id is taken: without permission this isolate does not attach.
  const region = new SharedRegion(options, range);
  const control = new Control(options.maxBlocks, buffer);
  region.follow(control);
  checkHome(control);
  const registry = new WorkerRegistry(control);
  const name = show(options.name);
  const closed = () => new SmritiError("closed", `pool ${name} is closed`);
  if (control.state !== OPEN) throw closed();
  const { words } = control;
  const slots = region.slabs * region.slabSlots;
  // From here on the memory stays mapped. It may have been unmapped before, with the last worker.
  const ledger = Ledger.join(words[HEADER.LEDGER]!, words[HEADER.POOL]!, slots);
  if (ledger === undefined) throw closed();
  const worker = registry.enter();
  if (worker === 0) {
    ledger.close();
    throw new SmritiError(
      "exhausted",
      `pool ${name} has ${MOST_WORKERS} isolates attached, the most there may be`,
    );
  }
  try {
    // After the id was taken: the ender writes the state first and looks for ids then, so one of the
    // two sees the other (Dekker).
    if (control.state !== OPEN) throw closed();
    const attachment = {
      options,
      region,
      ledger,
      made,
      control,
      registry,
      worker,
    };
    return assemble(attachment, false);
  } catch (error) {
    // An isolate that left meanwhile may have counted this one as attached, and so not ended the pool.
    registry.rest(worker);
    new SharedShutdown(control, region, ledger, registry, worker).tryEnd();
    registry.exit(worker);
    ledger.close();
    throw error;
  }
}

/**
 * Returns a function that detaches a worker whose pool object has become unreachable: marks its id, and
 * reclaims it as a dead worker's, under an id taken for that. The function returns whether the pool was
 * open. It must not hold the pool object, so it uses only what attachments share.
 */
export function detachUnreachable(
  { options, region, ledger, made, control, registry, worker }: Attachment,
  views: ViewBudget,
): () => boolean {
  const turn = registry.turnOf(worker);
  return () => {
    const isOpen = control.state === OPEN;
    views.forget();
    const isOurs = registry.markUnreachable(worker, turn);
    const own = isOurs ? registry.enter() : 0;
    // All ids are taken: the housekeeping of another worker reclaims it.
    if (own === 0) ledger.close();
    else {
      const attachment = { options, region, ledger, made, control, registry };
      assemble({ ...attachment, worker: own }, false).lifecycle.leave();
    }
    return isOpen && isOurs;
  };
}

/** Lists the ledger of the pool, by which its slots are known once its isolates have ended. */
function listed(
  region: SharedRegion,
  name: string,
  place: string,
  pool: number,
) {
  const { slabBytes, slabSlots, lastPart } = region;
  const described = { slabBytes, slabSlots, name, place };
  return Ledger.openShared(lastPart, described, pool);
}

/** What other isolates attach by. */
export function handleOf(
  { control, region, options }: Attachment,
): SharedPoolHandle {
  return Object.freeze({
    control: control.buffer,
    range: Object.freeze({ ...region.range }),
    options: Object.freeze({ ...options }),
    pid: Deno.pid,
  });
}
