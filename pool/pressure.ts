/**
 * Notices that the control group of this process is short of memory, while there is something to give.
 *
 * Looks at what the kernel counts: times that a group came to its bounds `high` or `max`, and the share
 * of time that its tasks wait for memory. Asks for no permission; what may not be read tells nothing.
 * Knows no pools: what is done about it is the caller's.
 */
import { type Cgroup, cgroups, readGranted } from "./cgroup.ts";
import { Timer } from "./timers.ts";

/** How far apart two looks are, in ms. */
export const LOOK_MS = 1_000;

/** Tasks wait for memory for more than so many per cent of the time: pressure. */
const MOST_WAITING = 10;

/** What the files of some control groups say. */
export class Gauge {
  readonly #groups: readonly Cgroup[];
  #before: number;

  /** Of these groups, the process's own one first. What was before does not count. */
  constructor(groups: readonly Cgroup[]) {
    this.#groups = groups;
    this.#before = this.#count();
  }

  /** Whether there is pressure, or was since the last look. */
  isHigh(): boolean {
    const before = this.#before;
    this.#before = this.#count();
    return this.#before > before || this.#waiting() > MOST_WAITING;
  }

  /** Times that any of the groups came to a bound of its own. */
  #count(): number {
    let sum = 0;
    for (const { folder, version } of this.#groups) {
      if (version === 1) {
        // Times that it came to the one bound it has.
        sum += Number(readGranted(`${folder}/memory.failcnt`) ?? 0);
        continue;
      }
      // The other file counts groups below, too: somebody else's, in all folders but the first.
      const events = readGranted(`${folder}/memory.events.local`) ??
        readGranted(`${folder}/memory.events`) ?? "";
      for (const [, count] of events.matchAll(/^(?:high|max) (\d+)$/gm)) {
        sum += Number(count);
      }
    }
    return sum;
  }

  /** Per cent of the last ten seconds in which some task of the own group waited for memory. */
  #waiting(): number {
    const own = this.#groups.find(({ version }) => version === 2);
    if (own === undefined) return 0;
    const text = readGranted(`${own.folder}/memory.pressure`);
    return Number(text?.match(/^some avg10=([\d.]+)/m)?.[1] ?? 0);
  }
}

/** Looks once in `LOOK_MS`, from `start` to `stop`. */
export class PressureWatch {
  readonly #act: () => void;
  readonly #root: string | undefined;
  #groups: readonly Cgroup[] | undefined;
  #gauge: Gauge | undefined;
  #timer: Timer | undefined;

  /** `act` is called at each look at which there is pressure. */
  constructor(act: () => void, root?: string) {
    this.#act = act;
    this.#root = root;
  }

  /** There is something to give. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#groups ??= cgroups(this.#root);
    if (this.#groups.length === 0) return;
    this.#gauge = new Gauge(this.#groups);
    this.#timer = Timer.every(LOOK_MS, this as PressureWatch, (watch) => {
      if (watch.#gauge?.isHigh()) watch.#act();
    });
  }

  /** There is nothing to give any more. */
  stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }
}
