// A pool in a process whose control group comes under pressure: `tests/pool/pressure_test.ts` runs this. The
// files of the group are in a folder, read in the place of libc.

import { BlockPool, type PoolEventMap } from "../../mod.ts";
import { SharedBlockPool } from "../../shared/mod.ts";
import { LOOK_MS } from "../../pool/pressure.ts";
import { FakeTime } from "@std/testing/time";
import { FailingBackend } from "../support/failing_backend.ts";
import { FakeSystem, version2 } from "../support/fake_system.ts";

const FILE = "/sys/fs/cgroup/a/memory.events";

using system = new FakeSystem({ ...version2("/a"), [FILE]: "max 0\n" });
using backend = new FailingBackend();
backend.host = {
  limits: () => [],
  read: (path) => {
    try {
      return Deno.readTextFileSync(system.root + path);
    } catch {
      return "";
    }
  },
};
using time = new FakeTime();
const options = {
  blockSize: 65536,
  maxBlocks: 100,
  initialBlocks: 10,
  ...JSON.parse(Deno.args[0]!),
};
const pool = Deno.args[1] === "shared"
  ? SharedBlockPool.create(options)
  : new BlockPool(options);
const told: PoolEventMap["pressure"][] = [];
pool.addEventListener("pressure", ({ detail }) => told.push(detail));
const committed = () => pool.stats().committedBlocks;
const tellNews = () => told.splice(0);

(await pool.acquireMany(100))[Symbol.dispose]();
const before = committed();
time.tick(3 * LOOK_MS);
const idle = committed();
system.write(FILE, "max 1\n");
time.tick(LOOK_MS);
const pressed = committed();
const first = tellNews();

const held = await pool.acquireMany(20);
(await pool.acquireMany(25))[Symbol.dispose]();
time.tick(LOOK_MS);
const again = committed();
system.write(FILE, "max 2\n");
time.tick(LOOK_MS);
const pressedAgain = committed();
console.log(JSON.stringify({
  before,
  idle,
  pressed,
  told: first,
  again,
  pressedAgain,
  toldAgain: tellNews(),
}));
held[Symbol.dispose]();
const closed = pool.close();
time.tick(LOOK_MS);
await closed;
