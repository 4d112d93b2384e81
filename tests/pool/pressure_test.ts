// Memory is short in the container: what counts as that, and what a pool does about it.

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { cgroups } from "../../pool/cgroup.ts";
import { Gauge, LOOK_MS, PressureWatch } from "../../pool/pressure.ts";
import { FakeSystem, version1, version2 } from "../support/fake_system.ts";
import { canRunDeno, hasNative, hasProc } from "../support/platform.ts";

const GROUPS = "/sys/fs/cgroup";
const OWN = `${GROUPS}/a/b`;

function events(high: number, max: number, rest = 0): string {
  return `low ${rest}\nhigh ${high}\nmax ${max}\noom ${rest}\noom_kill ${rest}\n`;
}

function pressure(avg10: number, full = 0): string {
  const line = (kind: string, share: number) =>
    `${kind} avg10=${share.toFixed(2)} avg60=90.00 avg300=90.00 total=1\n`;
  return line("some", avg10) + line("full", full);
}

Deno.test("rising counts of high and max are pressure, others are not", () => {
  using system = new FakeSystem({
    ...version2("/a/b"),
    [`${OWN}/memory.events`]: events(3, 4),
  });
  const gauge = new Gauge(cgroups(system.root));
  assert(!gauge.isHigh(), "what was before");
  for (
    const [high, max, rest, expected] of [
      [4, 4, 0, true],
      [4, 4, 0, false],
      [4, 4, 9, false],
      [4, 5, 9, true],
      [9, 9, 9, true],
      // The group was made anew.
      [0, 0, 0, false],
      [0, 1, 0, true],
    ] as const
  ) {
    system.write(`${OWN}/memory.events`, events(high, max, rest));
    assertEquals(gauge.isHigh(), expected, `${[high, max, rest]}`);
  }
});

Deno.test("of a group above, only its own bounds count", () => {
  using system = new FakeSystem({
    ...version2("/a/b"),
    [`${OWN}/memory.events`]: events(0, 0),
    [`${GROUPS}/a/memory.events`]: events(0, 0),
    [`${GROUPS}/a/memory.events.local`]: events(0, 0),
  });
  const gauge = new Gauge(cgroups(system.root));
  system.write(`${GROUPS}/a/memory.events`, events(5, 5));
  assert(!gauge.isHigh(), "a neighbour came to its bound");
  system.write(`${GROUPS}/a/memory.events.local`, events(0, 1));
  assert(gauge.isHigh(), "all together came to theirs");
});

Deno.test("tasks of the own group that wait for more than a tenth of the time are pressure", () => {
  using system = new FakeSystem(version2("/a/b"));
  assert(new Gauge(cgroups(system.root)).isBlind, "no such file");
  system.write(`${OWN}/memory.pressure`, pressure(0));
  const gauge = new Gauge(cgroups(system.root));
  for (
    const [share, expected] of [[0, false], [10, false], [10.01, true], [
      99,
      true,
    ], [1, false]] as const
  ) {
    system.write(`${OWN}/memory.pressure`, pressure(share));
    assertEquals(gauge.isHigh(), expected, `${share}`);
  }
  system.write(`${GROUPS}/a/memory.pressure`, pressure(99, 99));
  assert(!gauge.isHigh(), "a neighbour waits");
  for (const text of ["", "some", "full avg10=99.00", "some avg10=x"]) {
    system.write(`${OWN}/memory.pressure`, text);
    assert(!gauge.isHigh(), text);
  }
});

Deno.test("version 1 counts the times that the limit was met", () => {
  const own = `${GROUPS}/cpu,memory/a`;
  using system = new FakeSystem({
    ...version1("/a"),
    [`${own}/memory.failcnt`]: "7\n",
  });
  const gauge = new Gauge(cgroups(system.root));
  assert(!gauge.isHigh());
  system.write(`${own}/memory.failcnt`, "8\n");
  assert(gauge.isHigh());
  assert(!gauge.isHigh());
});

Deno.test("a watch looks from start to stop, at least every 5 s", () => {
  using time = new FakeTime();
  using system = new FakeSystem({
    ...version2("/a/b"),
    [`${OWN}/memory.events`]: events(0, 0),
  });
  let count = 0;
  let calls = 0;
  const meet = () => system.write(`${OWN}/memory.events`, events(0, ++count));
  const watch = new PressureWatch(() => calls++, system.root);
  assert(LOOK_MS <= 5_000);
  meet();
  time.tick(60_000);
  watch.start();
  watch.start();
  time.tick(60_000);
  assertEquals(calls, 0, "what was before the start does not count");
  meet();
  time.tick(LOOK_MS);
  assertEquals(calls, 1);
  watch.stop();
  meet();
  time.tick(60_000);
  watch.start();
  time.tick(60_000);
  assertEquals(calls, 1);
  meet();
  time.tick(60_000);
  assertEquals(calls, 2);
  watch.stop();
});

Deno.test("where no group is to be seen there is no timer", () => {
  using time = new FakeTime();
  using system = new FakeSystem({});
  const watch = new PressureWatch(() => {
    throw new Error("a look");
  }, system.root);
  watch.start();
  time.tick(60_000);
  watch.stop();
});

/** What `tests/pool/pressure_child.ts` prints, run with these arguments. */
async function pressed(...args: string[]): Promise<unknown> {
  const { href } = new URL("./pressure_child.ts", import.meta.url);
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    // Not all permissions: then libc reads the files, and the child stands in for that.
    args: [
      "run",
      "--no-check",
      "--no-prompt",
      "--allow-ffi",
      "--allow-read",
      "--allow-write",
      "--allow-env",
      href,
      ...args,
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
  return JSON.parse(new TextDecoder().decode(stdout));
}

const test = (name: string, fn: () => Promise<void>) =>
  Deno.test({ name, fn, ignore: !canRunDeno || !hasNative || !hasProc });

for (const kind of ["own", "shared"]) {
  test(`under pressure a pool gives back what is free above its initial blocks, and says so: ${kind}`, async () => {
    assertEquals(await pressed("{}", kind), {
      before: 100,
      idle: 100,
      pressed: 10,
      told: [{ pool: "smriti", bytes: 90 * 65536 }],
      again: 60,
      pressedAgain: 20,
      toldAgain: [{ pool: "smriti", bytes: 40 * 65536 }],
    });
  });

  test(`with pressureTrim: false it does not: ${kind}`, async () => {
    assertEquals(await pressed('{"pressureTrim":false}', kind), {
      before: 100,
      idle: 100,
      pressed: 100,
      told: [],
      again: 100,
      pressedAgain: 100,
      toldAgain: [],
    });
  });
}
