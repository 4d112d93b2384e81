/**
 * How an isolate gets a seat in a shared pool: by making it, or by the handle of one that is there.
 *
 * The range is mapped before any isolate can attach, and an isolate that cannot stay leaves no trace.
 */
import { show } from "../pool/checks.ts";
import { SmritiError } from "../pool/errors.ts";
import { headroom } from "../pool/headroom.ts";
import { Region } from "../pool/region.ts";
import {
  Control,
  HEADER,
  MAGIC,
  MOST_WORKERS,
  OPEN,
  VERSION,
} from "./control.ts";
import { Ending } from "./ending.ts";
import {
  checkHome,
  markHome,
  readHandle,
  sealOf,
  type SharedPoolHandle,
} from "./handle.ts";
import { fillSharedOptions, type SharedPoolOptions } from "./options.ts";
import { assemble, type Seat, type SharedParts } from "./parts.ts";
import { Roster } from "./roster.ts";

/** Makes a pool and takes the first seat. */
export function begin(given: SharedPoolOptions): SharedParts {
  headroom();
  const options = fillSharedOptions(given);
  const region = new Region(options);
  try {
    const control = new Control(options.maxBlocks);
    const { words } = control;
    words[HEADER.MAGIC] = MAGIC;
    words[HEADER.VERSION] = VERSION;
    words[HEADER.SEAL] = sealOf(options, region.range);
    words[HEADER.POOL] = crypto.getRandomValues(new Int32Array(1))[0];
    markHome(control);
    Atomics.store(words, HEADER.STATE, OPEN);
    const roster = new Roster(control);
    const worker = roster.enter();
    return assemble({ options, region, control, roster, worker }, true);
  } catch (error) {
    region.unmap();
    throw error;
  }
}

/** Takes a seat in a pool that is there. */
export function sitDown(handle: SharedPoolHandle): SharedParts {
  headroom();
  const { options, control: buffer, range } = readHandle(handle);
  // Before an id is taken: without permission there is no member.
  const region = new Region(options, range);
  const control = new Control(options.maxBlocks, buffer);
  checkHome(control);
  const roster = new Roster(control);
  const name = show(options.name);
  const closed = () => new SmritiError("closed", `pool ${name} is closed`);
  if (control.state !== OPEN) throw closed();
  const worker = roster.enter();
  if (worker === 0) {
    throw new SmritiError(
      "exhausted",
      `pool ${name} has ${MOST_WORKERS} isolates attached, the most there may be`,
    );
  }
  try {
    // Read last: the ender writes the state first and looks for ids then.
    if (control.state === OPEN) {
      return assemble({ options, region, control, roster, worker }, false);
    }
    throw closed();
  } catch (error) {
    // An isolate that left meanwhile may have taken this one for another member.
    roster.rest(worker);
    new Ending(control, region, roster, worker).tryEnd();
    roster.exit(worker);
    throw error;
  }
}

/** What others need to take a seat. */
export function handleOf({ control, region, options }: Seat): SharedPoolHandle {
  return Object.freeze({
    control: control.buffer,
    range: Object.freeze({ ...region.range }),
    options: Object.freeze({ ...options }),
    pid: Deno.pid,
  });
}
