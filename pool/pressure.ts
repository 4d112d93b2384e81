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

/** Memory pressure, as the files of some control groups show it. */
export class Gauge {
  /** Files that count how often a group came to a bound of its own. */
  readonly #counts: readonly string[];
  /** The file that says how long tasks of the process's own group wait. */
  readonly #waits: string | undefined;
  #before: number;

  /**
   * Of these groups, the process's own one first. Files that are missing now are not looked for again, and
   * what was before does not count.
   */
  constructor(groups: readonly Cgroup[]) {
    const first = (names: string[]) =>
      names.filter((name) => readGranted(name) !== undefined).slice(0, 1);
    this.#counts = groups.flatMap(({ folder, version }) =>
      first(
        version === 1
          // Has one bound.
          ? [`${folder}/memory.failcnt`]
          // `memory.events` counts the groups below, too, which in all folders but the first may be of
          // other processes.
          : [`${folder}/memory.events.local`, `${folder}/memory.events`],
      )
    );
    const own = groups.find(({ version }) => version === 2);
    this.#waits = own && first([`${own.folder}/memory.pressure`])[0];
    this.#before = this.#count();
  }

  /** Whether there is anything to look at. */
  get isBlind(): boolean {
    return this.#counts.length === 0 && this.#waits === undefined;
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
    for (const file of this.#counts) {
      const text = readGranted(file) ?? "";
      for (const [, count] of text.matchAll(/^(?:high |max |)(\d+)$/gm)) {
        sum += Number(count);
      }
    }
    return sum;
  }

  /** Per cent of the last ten seconds in which some task of the own group waited for memory. */
  #waiting(): number {
    if (this.#waits === undefined) return 0;
    const text = readGranted(this.#waits);
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
    const gauge = new Gauge(this.#groups);
    if (gauge.isBlind) return;
    this.#gauge = gauge;
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
