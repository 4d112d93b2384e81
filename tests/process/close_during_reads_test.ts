// A thousand pools of each kind closed under reads that are in flight, each way round: the resource
// first, the block first, the pool first. Nothing may end the process, and what a read writes late must never
// be seen in memory that another lease has by then.

import { assertEquals, assertGreater } from "@std/assert";
import { type Library, survives } from "../support/child.ts";
import {
  canRunDeno,
  hasNative,
  hasPipes,
  isEmulated,
} from "../support/platform.ts";

/** Of each kind. */
const ROUNDS = isEmulated ? 100 : 1000;

/** One way to read: each round gets a resource of its own. Sent to the child as source. */
type Kind = "file" | "FIFO" | "socket";

async function race(
  { BlockPool }: Library,
  kind: string,
  rounds: string,
  wires: string,
): Promise<void> {
  const { Fifo, say, shut, wire } = await import(wires);
  const options = { blockSize: 16_384, maxBlocks: 4, initialBlocks: 4 };
  const folder = await Deno.makeTempDir({ prefix: "smriti_" });
  const path = `${folder}/file`;
  await Deno.writeFile(path, new Uint8Array(1 << 20).fill(0xee));
  const pause = () => new Promise((go) => setTimeout(go, 0));
  const counts = { read: 0, failed: 0, timeouts: 0, mapped: 0, foreign: 0 };
  const text = "\xee".repeat(3000);

  /** Opens something to read from; `send` makes a pending read go on. */
  const open = async () => {
    if (kind === "file") {
      const file = await Deno.open(path);
      return { from: file, send: () => {}, end: () => shut(file) };
    }
    if (kind === "socket") {
      const net = await wire();
      const send = () => say(net.peer, text).catch(() => {});
      const end = () => net[Symbol.dispose]();
      return { from: net.ours, send, end };
    }
    const fifo = await Fifo.open();
    const send = () => fifo.say(text);
    return { from: fifo.reader, send, end: () => fifo[Symbol.asyncDispose]() };
  };

  const run = async (round: number) => {
    const pool = new BlockPool(options);
    const { from, send, end } = await open();
    const blocks = await pool.acquireMany(2 + round % 3);
    const reads = blocks.map((block) =>
      block.lend((bytes) => from.read(bytes), { socket: kind === "socket" })
        .then(() => counts.read++, () => counts.failed++)
    );
    // Each of these may come first, last, or with a turn of the event loop in between.
    const steps = [
      () => blocks[Symbol.dispose](),
      () => shut(from),
      send,
      () => pool.close({ timeoutMs: round % 4 }).catch(() => counts.timeouts++),
    ];
    const late: unknown[] = [];
    for (let at = round; steps.length > 0; at = at * 7 + 3) {
      const [step] = steps.splice(at % steps.length, 1);
      late.push(step());
      if (at % 3 === 0) await pause();
    }
    await pool.close().catch(() => {});
    // The next mapping may get the same addresses.
    const next = new BlockPool(options);
    const others = await next.acquireMany(4);
    for (const other of others) {
      if (other.bytes.some((byte) => byte !== 0)) counts.foreign++;
      other.bytes.fill(0x11);
    }
    // Threads that are still in a read write now.
    await send();
    await Promise.all([...reads, ...late]);
    for (const other of others) {
      if (other.bytes.some((byte) => byte !== 0x11)) counts.foreign++;
    }
    others[Symbol.dispose]();
    await next.close();
    await end();
    if (pool.stats().mappedBytes > 0) counts.mapped++;
  };

  // Four at a time: their pools take each other's addresses.
  let round = 0;
  const lane = async () => {
    while (round < Number(rounds)) await run(round++);
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  await Deno.remove(folder, { recursive: true });
  console.log(JSON.stringify(counts));
}

function racing(kind: Kind, ignore: boolean): void {
  Deno.test({
    name: `close() under ${kind} reads in flight harms nobody`,
    ignore: ignore || !canRunDeno,
  }, async () => {
    const wires = import.meta.resolve("../support/connections.ts");
    const [told] = await survives(race, [], [kind, `${ROUNDS}`, wires]);
    const counts = JSON.parse(told);
    console.log(kind, told);
    assertEquals(counts.foreign, 0);
    // It was a race: some reads got their data, some did not.
    assertGreater(counts.read, 0);
    assertGreater(counts.read + counts.failed, 2.9 * ROUNDS);
    // Sockets let go when they fail, so nothing of theirs has to stay mapped
    // unless the time to close was over.
    if (kind === "socket") assertEquals(counts.mapped, counts.timeouts);
  });
}

racing("file", !hasNative);
racing("FIFO", !hasNative || !hasPipes);
racing("socket", !hasNative);
