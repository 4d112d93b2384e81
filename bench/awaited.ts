/**
 * Pools whose acquire is a promise. Run as a program, this file measures a cycle on one of them in
 * which a block is free: taken by `await`, written to, given back.
 */
import { createPool as createGeneric } from "generic-pool";
import { createPool as createLightning } from "lightning-pool";
import { Pool as Tarn } from "tarn";
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { nsPerOperation } from "./measure.ts";
import { report } from "./child.ts";

/** About so long does one measurement take. */
const SLICE_MS = 50;
const SIZE = 65_536;
const MAX = 512;

/** What they have in common. */
export interface Pool {
  acquire(): Promise<Uint8Array>;
  release(bytes: Uint8Array): unknown;
}

/** Those that npm has, by name: `max` arrays of `size` bytes, `maxQueue` who wait. */
export const PEERS: Readonly<
  Record<
    string,
    (size: number, max: number, maxQueue: number) => Pool
  >
> = {
  "generic-pool": (size, max) =>
    createGeneric({
      create: () => Promise.resolve(new Uint8Array(size)),
      destroy: () => Promise.resolve(),
    }, { max }),
  "tarn": (size, max) => {
    const pool = new Tarn<Uint8Array>({
      create: () => new Uint8Array(size),
      destroy: () => {},
      min: 0,
      max,
    });
    return {
      acquire: () => pool.acquire().promise,
      release: (bytes) => pool.release(bytes),
    };
  },
  "lightning-pool": (size, max, maxQueue) =>
    createLightning<Uint8Array>({
      create: () => new Uint8Array(size),
      destroy: () => {},
    }, { max, maxQueue }),
};

type Run = (n: number) => Promise<void>;

/** Written out, as the two below are: what is compared with them is not much dearer. */
function smriti(options: Partial<PoolOptions>): () => Run {
  return () => {
    const pool = new BlockPool({ blockSize: SIZE, maxBlocks: MAX, ...options });
    return async (n) => {
      for (let i = 0; i < n; i++) {
        const block = await pool.acquire();
        block.bytes[0] = i;
        block.release();
      }
    };
  };
}

function peer(name: string): () => Run {
  return () => {
    const pool = PEERS[name](SIZE, MAX, MAX);
    return async (n) => {
      for (let i = 0; i < n; i++) {
        const bytes = await pool.acquire();
        bytes[0] = i;
        pool.release(bytes);
      }
    };
  };
}

const LEAN = { safety: "trust", zero: false } as const;

/** What is measured here, by name. */
export const AWAITED: Readonly<Record<string, () => Run>> = {
  "await of one and the same resolved promise"() {
    const bytes = Promise.resolve(new Uint8Array(SIZE));
    return async (n) => {
      for (let i = 0; i < n; i++) (await bytes)[0] = i;
    };
  },
  "await of a fresh resolved promise"() {
    const bytes = new Uint8Array(SIZE);
    return async (n) => {
      for (let i = 0; i < n; i++) (await Promise.resolve(bytes))[0] = i;
    };
  },
  "smriti trust, not zeroed": smriti(LEAN),
  "smriti trust, not zeroed, tryAcquire() ?? await acquire()"() {
    const pool = new BlockPool({ blockSize: SIZE, maxBlocks: MAX, ...LEAN });
    return async (n) => {
      for (let i = 0; i < n; i++) {
        const block = pool.tryAcquire() ?? await pool.acquire();
        block.bytes[0] = i;
        block.release();
      }
    };
  },
  "smriti revoke (default)": smriti({}),
  "generic-pool": peer("generic-pool"),
  "tarn": peer("tarn"),
  "lightning-pool": peer("lightning-pool"),
};

if (import.meta.main) {
  const run = AWAITED[Deno.args[0]]();
  report({ ns: await nsPerOperation(run, SLICE_MS) });
  Deno.exit(0);
}
