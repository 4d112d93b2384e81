/**
 * Connects the parts that one worker of a shared pool has. Decides nothing.
 */
import { Dispatcher } from "../pool/dispatcher.ts";
import { OverdueWatch } from "../pool/overdue.ts";
import type { LeaseHooks } from "../pool/leases.ts";
import { Events } from "../pool/events.ts";
import { checkSize } from "../pool/memory_limit.ts";
import type { Ledger } from "../pool/ledger.ts";
import type { BlockTicket } from "../pool/slot.ts";
import { Counters } from "../pool/stats.ts";
import { knownFence } from "./cache.ts";
import { Notifier } from "./notifier.ts";
import { Clock } from "./clock.ts";
import { type Control, COUNT, HEADER, WORKER } from "./control.ts";
import type { SharedFilledOptions } from "./handle.ts";
import { SharedShutdown } from "./shutdown.ts";
import { Healing } from "./healing.ts";
import { Lifecycle } from "./lifecycle.ts";
import type { WorkerRegistry } from "./worker_registry.ts";
import { SharedSlotAcquirer } from "./shared_slot_acquirer.ts";
import { SharedLeases } from "./shared_leases.ts";
import type { SharedRegion } from "./shared_region.ts";
import { SharedSizer } from "./shared_sizer.ts";
import { SharedSlots } from "./shared_slots.ts";
import { mappedNow } from "./shared_stats.ts";
import { SharedSupply } from "./shared_supply.ts";
import { Tickets } from "./tickets.ts";
import { WaitLoop } from "./wait_loop.ts";

/** What a worker has by attaching. */
export interface Attachment {
  /** The pool's options. */
  readonly options: SharedFilledOptions;
  /** The pool's memory, mapped by the isolate that made it. */
  readonly region: SharedRegion;
  /** Which slots views may reach, for isolates that outlive the pool's. */
  readonly ledger: Ledger;
  /** The stack of the call that attached, for messages. */
  readonly made: string;
  /** The words that all workers share. */
  readonly control: Control;
  /** The workers of the pool. */
  readonly registry: WorkerRegistry;
  /** The worker id of this isolate. */
  readonly worker: number;
}

/** The parts of one worker. */
export interface SharedParts extends Attachment {
  readonly slots: SharedSlots;
  readonly leases: SharedLeases;
  readonly sizer: SharedSizer;
  readonly acquirer: SharedSlotAcquirer;
  readonly dispatcher: Dispatcher;
  readonly waitLoop: WaitLoop;
  readonly lifecycle: Lifecycle;
  readonly tickets: Tickets;
  readonly events: Events;
}

/** Connects the parts; with `creates`, commits the first blocks, too. */
export function assemble(
  attachment: Attachment,
  creates: boolean,
): SharedParts {
  const { options, region, ledger, control, worker } = attachment;
  const { name } = options;
  const events = new Events();
  const counters = sharedCounters(control, worker);
  const clock = new Clock(control);
  const notifier = new Notifier(control, clock, worker);
  const hasCaches = control.words[HEADER.CACHES] !== 0;
  const fence = hasCaches ? knownFence() : undefined;
  const slots = new SharedSlots(control, worker, ledger.used, fence);
  const hooks: LeaseHooks = {
    ended: () => {
      dispatcher.freed();
      lifecycle.check();
    },
    abandoned: () => {
      const healed = sizer.heal();
      dispatcher.abandoned();
      if (healed === "grown") dispatcher.freed();
      lifecycle.check();
    },
    leaked: ({ isNew, tag, stack }) => {
      if (isNew) events.emit("leak", () => ({ pool: name, tag, stack }));
    },
    lending: (slot, change) => {
      // The operation may go on when this isolate has ended.
      if (change > 0) slots.expose(slot);
      Atomics.add(control.lends, slot, change);
    },
  };
  const leases: SharedLeases = new SharedLeases(
    options,
    region,
    slots,
    control,
    counters,
    hooks,
    (slot): BlockTicket => tickets.send(slot),
  );
  const tickets = new Tickets(options, control, slots, leases);
  const supply = new SharedSupply(
    control,
    slots,
    region,
    notifier,
    (slot) => leases.wipe(slot),
  );
  const healing = new Healing({ ...attachment, slots, notifier, clock });
  const sizer = new SharedSizer(
    options,
    control,
    slots.tally,
    clock,
    supply,
    healing,
    events,
    worker,
  );
  if (creates) sizer.start();
  const shutdown = new SharedShutdown(
    control,
    region,
    ledger,
    attachment.registry,
    worker,
  );
  const parts = {
    ...attachment,
    slots,
    leases,
    sizer,
    notifier,
    clock,
    shutdown,
    events,
    counters,
  };
  const acquirer = new SharedSlotAcquirer(
    parts,
    (waiting) => waitLoop.update(waiting),
  );
  const { words } = control;
  const waitingAt = control.at(worker, WORKER.WAITING);
  const dispatcher = new Dispatcher({
    ...parts,
    acquirer,
    records: leases.records,
    waitingElsewhere: () => control.total(WORKER.WAITING) - words[waitingAt]!,
  });
  const keepHouse = () => lifecycle.keepHouse();
  const waitLoop = new WaitLoop({ ...parts, acquirer, dispatcher, keepHouse });

  const overdue = new OverdueWatch(options, leases.records, events);
  const notice = creates
    ? checkSize(options, region.layout, events)?.()
    : undefined;
  const lifecycle = new Lifecycle({
    ...parts,
    dispatcher,
    waitLoop,
    onEnd: () => {
      overdue.stop();
      notice?.stop();
      sizer.stop();
      ledger.close();
      events.emit("close", () => ({
        pool: name,
        abandonedBlocks: slots.tally.countAbandoned(),
        mappedBytes: mappedNow(control, region),
      }));
    },
  });
  try {
    lifecycle.start();
  } catch (error) {
    overdue.stop();
    notice?.stop();
    throw error;
  }
  return { ...parts, acquirer, dispatcher, waitLoop, lifecycle, tickets };
}

/**
 * Counters of one worker. Those that `stats()` adds up over all workers are words of the control block.
 */
function sharedCounters(control: Control, worker: number): Counters {
  const shown = (count: number): PropertyDescriptor => {
    const at = control.countAt(worker, count);
    return {
      get: () => control.counts[at],
      set: (value: number) => void (control.counts[at] = value),
    };
  };
  const counters = new Counters(control.waitMs, control.heldMs);
  return Object.defineProperties(counters, {
    waits: shown(COUNT.WAITS),
    timeouts: shown(COUNT.TIMEOUTS),
    exhaustions: shown(COUNT.EXHAUSTIONS),
    doubleReleases: shown(COUNT.DOUBLE_RELEASES),
    leaks: shown(COUNT.LEAKS),
  });
}
