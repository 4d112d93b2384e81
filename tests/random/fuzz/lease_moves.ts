// What the fuzz does with a block it holds, and with handles whose lease is over.

import { assert, assertStrictEquals } from "@std/assert";
import { type Block, BlockPool } from "@smriti/pool";
import type { Rng } from "../../support/rng.ts";
import type { Home, Lease } from "./fuzzed_pool.ts";
import { junk, Planted } from "./junk.ts";
import type { Tally } from "./tally.ts";

/** What the moves share. */
export interface World {
  readonly rng: Rng;
  readonly tally: Tally;
  readonly homes: Home[];
  /** Views kept for too long: they must be empty, or at least harmless. */
  readonly ghosts: Uint8Array[];
  /** Buffers that left a lease and were still out at its end: theirs for ever. */
  readonly strays: Uint8Array[];
  /** Blocks that are not released any more. */
  readonly dropped: Block[];
}

type LeaseMove = (world: World, lease: Lease) => void;

/** After a call that may have ended the lease: believe the handle. */
export function settleUp(lease: Lease): void {
  if (lease.block.released) lease.home.forget(lease);
}

function remember(rng: Rng, ring: Uint8Array[], view: Uint8Array): void {
  if (ring.length < 200) ring.push(view);
  else ring[rng.below(ring.length)] = view;
}

function touch(
  { tally }: World,
  lease: Lease,
): Uint8Array<ArrayBuffer> | undefined {
  return tally.call("bytes", () => lease.touch());
}

/** Ends the lease in one of the many ways; afterwards it must be over. */
export function release(world: World, lease: Lease): void {
  const { rng, tally } = world;
  const { block, home } = lease;
  const { size } = block;
  if (rng.chance(0.05)) {
    const view = touch(world, lease);
    if (view !== undefined) remember(rng, world.ghosts, view);
  }
  const way = rng.below(5);
  tally.call("release", () => {
    if (way === 0) home.pool.release(block);
    else if (way === 1) block[Symbol.dispose]();
    else if (way === 2) block.release(lease.stamped || lease.wild ? size : 0);
    else block.release();
  });
  if (!block.released) tally.fail("release", "it is not released");
  if (lease.out !== undefined) remember(rng, world.strays, lease.out);
  home.forget(lease);
}

const MOVES: readonly [number, LeaseMove][] = [
  [40, touch],
  [40, release],
  [3, (world, lease) => {
    world.tally.call("pointer", () => lease.block.pointer);
  }],
  [3, ({ tally, rng }, lease) => {
    const { block } = lease;
    tally.call("size", () => assert(block.size > 0));
    tally.call("tag", () => block.tag);
    const isOver = tally.call("released", () => block.released);
    assert(!isOver || lease.interrupted, "nobody else ends a lease");
    settleUp(lease);
    if (rng.chance(0.1)) tally.call("inspect", () => Deno.inspect(block));
  }],
  [6, lendTo],
  [4, lendAway],
  [12, openGate],
  [2, takeBuffer],
  [4, giveBack],
  [0.02, ({ tally }, lease) => {
    tally.call("abandon", () => lease.block.abandon());
    settleUp(lease);
    tally.call("release abandoned", () => lease.block.release());
  }],
  [0.05, ({ dropped }, lease) => {
    lease.home.forgetful = true;
    lease.home.forget(lease);
    lease.home.stale.pop();
    dropped.push(lease.block);
  }],
  [3, misuse],
];

const TOTAL = MOVES.reduce((sum, [weight]) => sum + weight, 0);

/** One move, by weight. */
export function leaseMove(world: World, lease: Lease): void {
  let at = world.rng.next() / 2 ** 32 * TOTAL;
  for (const [weight, move] of MOVES) {
    at -= weight;
    if (at < 0) return move(world, lease);
  }
}

function newGate(lease: Lease): PromiseWithResolvers<unknown> {
  const gate = Promise.withResolvers<unknown>();
  // A lend that is refused leaves its operation to itself.
  gate.promise.catch(() => {});
  lease.gates.push(gate);
  return gate;
}

/** Native code at work, until its gate opens. */
function lendTo(world: World, lease: Lease): void {
  const { rng, tally } = world;
  if (lease.gates.length > 3) return openGate(world, lease);
  const gate = newGate(lease);
  const options = rng.chance(0.5) ? { socket: rng.chance(0.5) } : undefined;
  const operation = rng.chance(0.5) ? gate.promise : () => gate.promise;
  tally.ask("lend", () => lease.block.lend(operation, options));
}

/** An operation that takes the buffer along, and hands it back or loses it. */
function lendAway(world: World, lease: Lease): void {
  const { rng, tally } = world;
  if (lease.gates.length > 3) return openGate(world, lease);
  const gate = newGate(lease);
  const how = rng.below(3);
  lease.leaves();
  const socket = rng.chance(0.5);
  tally.ask("lend away", () =>
    lease.block.lend(async (bytes) => {
      const moved = structuredClone(bytes, { transfer: [bytes.buffer] });
      await gate.promise;
      // A result that is lost costs a block, so most are handed back.
      return how === 0 ? moved : { value: moved, done: false };
    }, { socket }));
  // No lease may have it meanwhile.
  if (how === 2) tally.call("bytes while away", () => lease.block.bytes);
}

function openGate({ rng }: World, lease: Lease): void {
  const gate = lease.gates.pop();
  if (gate !== undefined && settle(rng, gate)) lease.interrupted = true;
}

/** Lets an operation end well, or not; whether it was interrupted. */
export function settle(rng: Rng, gate: PromiseWithResolvers<unknown>): boolean {
  const how = rng.below(1000);
  if (how > 40) gate.resolve(undefined);
  else if (how > 0) gate.reject(new Planted("the operation failed"));
  else gate.reject(new Deno.errors.Interrupted("closed meanwhile"));
  return how === 0;
}

/** A buffer leaves by itself. */
function takeBuffer(world: World, lease: Lease): void {
  const view = touch(world, lease);
  // A second one out costs the block for certain: not every time.
  if (view === undefined) return;
  if (lease.out && world.rng.chance(0.95)) return;
  lease.leaves();
  lease.out = structuredClone(view, {
    transfer: [view.buffer],
  });
}

function giveBack(world: World, lease: Lease): void {
  const { out, block } = lease;
  if (out === undefined) return;
  const { rng, tally } = world;
  if (rng.chance(0.02)) {
    // It may be written to while it is out.
    out.fill(0xaa);
    lease.wild = true;
    return;
  }
  lease.out = undefined;
  tally.call("reattach", () => {
    block.reattach(rng.chance(0.5) ? out : new DataView(out.buffer));
    assert(rng.chance(0.5) || block.bytes.buffer === out.buffer);
  });
}

/** Calls with arguments that have nothing to do there. */
function misuse({ rng, tally, homes }: World, lease: Lease): void {
  const { block } = lease;
  const other = rng.pick(homes);
  // deno-lint-ignore no-explicit-any
  const any = () => junk(rng) as any;
  switch (rng.below(6)) {
    case 0: {
      const argument = any();
      if (argument === undefined || argument === 0 || argument === 1) return;
      // A number of bytes that is right, and a lie: excluded in docs/safety.md.
      if (Number.isInteger(argument) && argument <= block.size) return;
      tally.call("release junk bytes", () => block.release(argument));
      // An interrupted operation may have ended the lease before.
      assert(
        !block.released || lease.interrupted,
        "a refused release changes nothing",
      );
      break;
    }
    case 1:
      // The heap cannot tell one buffer of the right size from another.
      lease.leaves();
      tally.call("reattach junk", () => block.reattach(any()));
      break;
    case 2: {
      const argument = any();
      lease.leaves();
      // One that gives undefined may have begun something.
      if (typeof argument === "function") lease.interrupted = true;
      tally.ask("lend junk", () => block.lend(argument, any()));
      break;
    }
    case 3:
      if (other === lease.home || !(other.pool instanceof BlockPool)) return;
      tally.call("release to another pool", () => other.pool.release(block));
      assertStrictEquals(block.released, false, "the other pool's affair");
      break;
    case 4:
      tally.call("release junk", () => lease.home.pool.release(any()));
      break;
    default: {
      const mate = rng.pick(other.held.length > 0 ? other.held : [lease]);
      if (mate === lease || mate.gates.length > 0) return;
      const view = tally.call("bytes", () => mate.block.bytes);
      if (view === undefined) return;
      if (lease.home.options.backend === "heap") return;
      tally.call("reattach another's", () => block.reattach(view));
    }
  }
  settleUp(lease);
}
