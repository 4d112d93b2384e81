/**
 * A day's load in a minute, on one contestant in this process alone. Argument: its name.
 */
import { BlockPool } from "@smriti/pool";
import { report } from "./child.ts";

/** Seconds that the day takes. */
export const DAY_SECONDS = 60;
/** Blocks of the pool. */
export const MAX_BLOCKS = 4096;
/** Six minutes of the day. */
export const SHRINK_INTERVAL_MS = 6 * 60_000 * DAY_SECONDS / 86_400;
const SIZE = 65_536;
const TICK_MS = 5;

/** Share of the blocks in use by the hour; straight lines in between. */
const CURVE: readonly (readonly [hour: number, share: number])[] = [
  [0, 0.05],
  [6, 0.05],
  [9, 0.9],
  [11, 0.9],
  [12, 0.6],
  [17, 0.6],
  [20, 0.05],
  [24, 0.05],
];

/** What was seen in one tick. */
export interface Tick {
  readonly ms: number;
  /** Blocks in use at its end; also the most in it. */
  readonly used: number;
  /** Blocks with memory behind them, as the contestant has it. */
  readonly committed: number;
}

/** What the day came to. */
export interface Day {
  readonly ticks: readonly Tick[];
  /** Resident bytes, four times a second. */
  readonly resident: readonly (readonly [ms: number, bytes: number])[];
  readonly acquires: number;
  /** Acquires in which memory was committed. */
  readonly grew: number;
}

/** One way to have memory. */
interface Contestant {
  take(): unknown;
  give(one: unknown): void;
  committed(used: number): number;
  grew(): number;
}

function write(bytes: Uint8Array): void {
  bytes.fill(1);
}

const CONTESTANTS: Record<string, () => Contestant> = {
  smriti() {
    const pool = new BlockPool({
      blockSize: SIZE,
      maxBlocks: MAX_BLOCKS,
      shrinkIntervalMs: SHRINK_INTERVAL_MS,
    });
    let grows = 0;
    pool.addEventListener("grow", () => grows++);
    return {
      take() {
        const block = pool.acquireSync();
        write(block.bytes);
        return block;
      },
      give: (block) => (block as Disposable)[Symbol.dispose](),
      committed: () => pool.stats().committedBlocks,
      grew: () => grows,
    };
  },
  "grow-only list of arrays"() {
    const list: Uint8Array[] = [];
    let made = 0;
    return {
      take() {
        let bytes = list.pop();
        if (bytes === undefined) {
          made++;
          bytes = new Uint8Array(SIZE);
        }
        write(bytes);
        return bytes;
      },
      give: (bytes) => void list.push(bytes as Uint8Array),
      committed: () => made,
      grew: () => made,
    };
  },
  "fresh arrays"() {
    let made = 0;
    return {
      take() {
        made++;
        const bytes = new Uint8Array(SIZE);
        write(bytes);
        return bytes;
      },
      give() {},
      committed: (used) => used,
      grew: () => made,
    };
  },
};

function share(hour: number): number {
  const at = CURVE.findIndex(([end]) => end > hour);
  if (at <= 0) return CURVE[at === 0 ? 0 : CURVE.length - 1][1];
  const [fromHour, from] = CURVE[at - 1];
  const [toHour, to] = CURVE[at];
  return from + (to - from) * (hour - fromHour) / (toHour - fromHour);
}

if (import.meta.main) {
  const { take, give, committed, grew } = CONTESTANTS[Deno.args[0]]();
  let seed = 1;
  const random = () => {
    seed = Math.imul(seed, 1103515245) + 12345 & 0x7fffffff;
    return (seed >> 8) / 0x800000;
  };
  const held: unknown[] = [];
  const ticks: Tick[] = [];
  const resident: [number, number][] = [];
  let acquires = 0;
  const acquire = () => {
    acquires++;
    held.push(take());
  };
  const drop = () => {
    const at = Math.floor(random() * held.length);
    const one = held[at];
    held[at] = held[held.length - 1];
    held.pop();
    give(one);
  };
  const start = performance.now();
  for (;;) {
    const ms = performance.now() - start;
    if (ms >= 1000 * DAY_SECONDS) break;
    // Wobbles by 3 % of itself, so that the pool meets more than straight lines.
    const hour = 24 * ms / (1000 * DAY_SECONDS);
    const wobble = 0.97 + 0.06 * random();
    const wanted = Math.round(share(hour) * wobble * MAX_BLOCKS);
    // One in a hundred is another one than before.
    for (let i = Math.ceil(held.length / 100); i > 0; i--) drop();
    while (held.length > wanted) drop();
    while (held.length < wanted) acquire();
    ticks.push({ ms, used: held.length, committed: committed(held.length) });
    if (ms >= 250 * resident.length) {
      resident.push([ms, Deno.memoryUsage().rss]);
    }
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  report({ ticks, resident, acquires, grew: grew() } satisfies Day);
  Deno.exit(0);
}

/** Their names. */
export const NAMES: readonly string[] = Object.keys(CONTESTANTS);
