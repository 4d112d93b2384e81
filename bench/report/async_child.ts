/**
 * Taking a block by `await`, writing a byte, giving it back: one contestant in this process alone.
 */
import { createPool as createGeneric } from "generic-pool";
import { createPool as createLightning } from "lightning-pool";
import { Pool as Tarn } from "tarn";
import { BlockPool, type PoolOptions } from "@smriti/pool";
import { nsPerOperationAsync } from "../measure.ts";
import { report } from "./child.ts";

/** About so long does one measurement take. */
const SLICE_MS = 50;
const SIZE = 65_536;
const MAX = 512;

type Run = (n: number) => Promise<void>;

function smriti(options: Partial<PoolOptions>): Run {
  const pool = new BlockPool({ blockSize: SIZE, maxBlocks: MAX, ...options });
  return async (n) => {
    for (let i = 0; i < n; i++) {
      const block = await pool.acquire();
      block.bytes[0] = i;
      block.release();
    }
  };
}

const CONTESTANTS: Record<string, () => Run> = {
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
  "smriti trust, not zeroed": () => smriti({ safety: "trust", zero: false }),
  "smriti trust, not zeroed, tryAcquire() ?? await acquire()"() {
    const pool = new BlockPool({
      blockSize: SIZE,
      maxBlocks: MAX,
      safety: "trust",
      zero: false,
    });
    return async (n) => {
      for (let i = 0; i < n; i++) {
        const block = pool.tryAcquire() ?? await pool.acquire();
        block.bytes[0] = i;
        block.release();
      }
    };
  },
  "smriti revoke (default)": () => smriti({}),
  "generic-pool"() {
    const pool = createGeneric({
      create: () => Promise.resolve(new Uint8Array(SIZE)),
      destroy: () => Promise.resolve(),
    }, { max: MAX });
    return async (n) => {
      for (let i = 0; i < n; i++) {
        const bytes = await pool.acquire();
        bytes[0] = i;
        pool.release(bytes);
      }
    };
  },
  "tarn"() {
    const pool = new Tarn<Uint8Array>({
      create: () => new Uint8Array(SIZE),
      destroy: () => {},
      min: 0,
      max: MAX,
    });
    return async (n) => {
      for (let i = 0; i < n; i++) {
        const bytes = await pool.acquire().promise;
        bytes[0] = i;
        pool.release(bytes);
      }
    };
  },
  "lightning-pool"() {
    const pool = createLightning<Uint8Array>({
      create: () => new Uint8Array(SIZE),
      destroy: () => {},
    }, { max: MAX });
    return async (n) => {
      for (let i = 0; i < n; i++) {
        const bytes = await pool.acquire();
        bytes[0] = i;
        pool.release(bytes);
      }
    };
  },
};

if (import.meta.main) {
  const run = CONTESTANTS[Deno.args[0]]();
  report({ ns: await nsPerOperationAsync(run, SLICE_MS) });
  Deno.exit(0);
}

/** Their names. */
export const NAMES: readonly string[] = Object.keys(CONTESTANTS);
