// One pool under fuzz, with what the fuzz knows of it: who holds what, and what was written there.

import { AssertionError, assertStrictEquals } from "@std/assert";
import {
  type Block,
  BlockPool,
  type PoolOptions,
  type PoolStats,
  SizeClassPool,
} from "@smriti/pool";
import { Rng } from "../../support/rng.ts";
import { Chaos } from "./chaos.ts";

/** Bytes at either end of a block that the fuzz writes: enough to tell leases apart. */
const STAMP = 4;

let leases = 0;

/** A lease as the fuzz knows it. */
export class Lease {
  readonly block: Block;
  readonly home: Home;
  readonly number = ++leases & 0x7fff_ffff;
  /** Whether the number is written there. */
  stamped = false;
  /** Settle the operations that it is lent to. */
  readonly gates: PromiseWithResolvers<unknown>[] = [];
  /** A buffer that has left. */
  out: Uint8Array<ArrayBuffer> | undefined;
  /** Whether an operation may have ended it. */
  interrupted = false;
  /** Whether its buffer has ever been away: the content may have been written elsewhere. */
  wild = false;

  constructor(home: Home, block: Block) {
    this.home = home;
    this.block = block;
  }

  /** Its buffer goes away; on the heap the bytes go with it. */
  leaves(): void {
    if (this.home.options.backend === "heap") this.wild = true;
  }

  /** Looks at the block: it must be as this lease left it, or empty. */
  touch(): Uint8Array<ArrayBuffer> {
    const { bytes } = this.block;
    assertStrictEquals(
      bytes.length,
      this.block.size,
      "bytes are the whole block",
    );
    if (this.wild) return bytes;
    const view = new DataView(bytes.buffer);
    const end = bytes.length - STAMP;
    const seen = [view.getUint32(0), view.getUint32(end)];
    const expected = this.stamped ? this.number : 0;
    const isKnown = this.stamped || this.home.zeroes;
    if (isKnown && (seen[0] !== expected || seen[1] !== expected)) {
      const told = `lease ${this.number} of ${this.home} sees ${seen}`;
      throw new AssertionError(`${told}, not ${expected}`);
    }
    view.setUint32(0, this.number);
    view.setUint32(end, this.number);
    this.stamped = true;
    return bytes;
  }
}

/** A pool and its leases. */
export class Home {
  readonly pool: BlockPool | SizeClassPool;
  readonly options: PoolOptions;
  readonly chaos: Chaos | undefined;
  readonly held: Lease[] = [];
  /** Handles of leases that are over. */
  readonly stale: Block[] = [];
  /** Gates of operations whose lease was released meanwhile. */
  readonly gates: PromiseWithResolvers<unknown>[] = [];
  /** Calls left until it is closed. */
  life: number;
  /** Whether a block was dropped unreleased. */
  forgetful = false;

  /** With `threads`, it may do work on another thread, at times that no seed decides. */
  constructor(rng: Rng, threads: boolean) {
    const options = this.options = randomOptions(rng, threads);
    this.life = 2000 + rng.below(30_000);
    const isPlain = rng.chance(0.7);
    const make = () =>
      isPlain ? new BlockPool(options) : new SizeClassPool([
        options,
        { ...options, blockSize: options.blockSize * 4, name: undefined },
        { ...options, blockSize: options.blockSize * 2, name: undefined },
      ]);
    const shaky = options.backend !== "heap" && rng.chance(0.4);
    if (!shaky) {
      this.pool = make();
      return;
    }
    const odds = { commit: 0.3, decommit: 0.3, protect: 0.1, prefault: 0.3 };
    this.chaos = new Chaos(new Rng(rng.next()), odds);
    let pool: BlockPool | SizeClassPool | undefined;
    // The first blocks are not to be refused by chance; that has a move of its own.
    while (pool === undefined) {
      try {
        pool = this.chaos.during(make);
      } catch (error) {
        if ((error as { code?: string }).code !== "out-of-memory") throw error;
      }
    }
    this.pool = pool;
  }

  /** Whether a block shows no bytes of earlier leases. */
  get zeroes(): boolean {
    return this.options.zero !== false;
  }

  /** Whether views die with their lease. */
  get revokes(): boolean {
    return this.options.safety !== "trust";
  }

  /** Whether a late write by address is found and harms no lease. */
  get staysReadable(): boolean {
    const { safety, blockSize, backend } = this.options;
    return safety === "strict" && blockSize * 4 < 4096 && backend !== "heap";
  }

  /** The numbers of the pool, or of each class. */
  stats(): PoolStats[] {
    const { pool } = this;
    return pool instanceof BlockPool ? [pool.stats()] : pool.stats();
  }

  /** Takes a lease over from the library. */
  keep(block: Block | undefined): Lease | undefined {
    if (block === undefined) return undefined;
    const lease = new Lease(this, block);
    this.held.push(lease);
    return lease;
  }

  /** Forgets a lease that is over. */
  forget(lease: Lease): void {
    this.gates.push(...lease.gates.splice(0));
    const at = this.held.indexOf(lease);
    if (at >= 0) {
      this.held[at] = this.held[this.held.length - 1];
      this.held.pop();
    }
    if (this.stale.length < 64) this.stale.push(lease.block);
  }

  toString(): string {
    return Deno.inspect(this.options, { compact: true, breakLength: 1e3 });
  }
}

// Strict and "all" take a stack for each lease, which is most of what they cost.
const SAFETIES = ["trust", "revoke", "revoke", "revoke", "strict"] as const;

function randomOptions(rng: Rng, threads: boolean): PoolOptions {
  const maxBlocks = rng.pick([3, 8, 40, 200]);
  const reservedBlocks = rng.chance(0.3) ? 1 : 0;
  const safety = rng.pick(SAFETIES);
  return {
    blockSize: rng.pick([8, 64, 100, 500, 1000, 4096, 5000, 16_384]),
    maxBlocks,
    reservedBlocks,
    initialBlocks: reservedBlocks + 1 + rng.below(maxBlocks - reservedBlocks),
    safety,
    zero: rng.chance(0.8),
    maxWaiting: rng.pick([0, 2, 100, 100]),
    leakDetection: rng.pick(["off", "sampled", "sampled", "all"]),
    maxAbandonedBytes: rng.pick([undefined, undefined, 0, 1000, Infinity]),
    overdueMs: rng.chance(0.2) ? 1 + rng.below(5) : undefined,
    shrinkIntervalMs: 1 + rng.below(10),
    prefault: rng.chance(0.4) && threads,
    hugePages: rng.chance(0.05),
    backend: rng.pick(["native", "native", "auto", "heap"]),
    name: `home ${safety}`,
  };
}
