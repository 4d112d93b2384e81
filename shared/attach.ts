/**
 * How an isolate gets an attachment in a shared pool: by making it, or by the handle of one that is there.
 *
 * The range is mapped before any isolate can attach, and an isolate that cannot stay leaves no trace.
 */
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import { headroom } from "../pool/headroom.ts";
import { Region } from "../pool/region.ts";
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

/** Makes a pool and takes the first attachment; `made` says where. */
export function begin(given: SharedPoolOptions, made: string): SharedParts {
  headroom();
  const options = fillSharedOptions(given);
  sweep();
  const region = new Region(options);
  const pool = crypto.getRandomValues(new Int32Array(1))[0]!;
  const { ledger, place } = listed(region, options.name, made, pool);
  try {
    const control = new Control(options.maxBlocks);
    const { words } = control;
    words[HEADER.MAGIC] = MAGIC;
    words[HEADER.VERSION] = VERSION;
    words[HEADER.SEAL] = sealOf(options, region.range);
    words[HEADER.POOL] = pool;
    words[HEADER.LEDGER] = place;
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

/** Takes an attachment in a pool that is there. */
export function attach(handle: SharedPoolHandle, made: string): SharedParts {
  headroom();
  const { options, control: buffer, range } = readHandle(handle);
  // Before an id is taken: without permission there is no member.
  const region = new Region(options, range);
  const control = new Control(options.maxBlocks, buffer);
  checkHome(control);
  const registry = new WorkerRegistry(control);
  const name = show(options.name);
  const closed = () => new SmritiError("closed", `pool ${name} is closed`);
  if (control.state !== OPEN) throw closed();
  const { words } = control;
  const slots = region.slabs * region.slabSlots;
  // From here on the memory stays. It may have gone with the last isolate that had it.
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
    // Read last: the ender writes the state first and looks for ids then.
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
    // An isolate that left meanwhile may have taken this one for another member.
    registry.rest(worker);
    new SharedShutdown(control, region, ledger, registry, worker).tryEnd();
    registry.exit(worker);
    ledger.close();
    throw error;
  }
}

/**
 * How an attachment goes back whose holder has become unreachable: it is dealt with as one of a dead worker, by
 * one who takes an attachment for that. Whether the pool was open. Holds nothing but what all attachments share.
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
    // With all attachments taken, others will deal with it.
    if (own === 0) ledger.close();
    else {
      const attachment = { options, region, ledger, made, control, registry };
      assemble({ ...attachment, worker: own }, false).lifecycle.leave();
    }
    return isOpen && isOurs;
  };
}

/** A place for all that must be known of the pool's slots once its isolates have ended. */
function listed(region: Region, name: string, place: string, pool: number) {
  const { slabBytes, slabSlots, lastPart } = region;
  const described = { slabBytes, slabSlots, name, place };
  return Ledger.openShared(lastPart, described, pool);
}

/** What others need to take an attachment. */
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
