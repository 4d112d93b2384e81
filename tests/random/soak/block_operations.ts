// What is done with a block while it is held. After each step the content must be the lease's own.

import type { Block } from "@smriti/pool";
import { hasPosixShell } from "../../support/platform.ts";
import { Fifo, shut } from "../../support/connections.ts";
import type { Home } from "./pools.ts";
import type { Step } from "./plan.ts";
import type { Score } from "./score.ts";
import type { Stamp } from "./stamp.ts";
import {
  type EchoServer,
  type EchoWorker,
  readAll,
  writeAll,
} from "./peers.ts";

const SOCKET = { socket: true };
/** What those write who have no lease any more. */
const NOISE = 0xee;

/** What all tasks share, and what one has for itself. */
export interface World {
  readonly score: Score;
  readonly server: EchoServer;
  readonly worker: EchoWorker;
  /** Buffers that left a lease for good: they are written to at any time. */
  readonly strays: Uint8Array[];
  /** This task's own. */
  readonly file: Deno.FsFile;
  conn: Deno.TcpConn;
  /** For BYOB reads, which need a connection that has no other reader. */
  readonly byob: {
    readonly conn: Deno.TcpConn;
    readonly reader: ReadableStreamBYOBReader;
  };
}

const pause = (ms: number) => new Promise<void>((go) => setTimeout(go, ms));

/** Does one step. The lease may be over afterwards. */
export async function perform(
  world: World,
  home: Home,
  block: Block,
  stamp: Stamp,
  step: Step,
): Promise<void> {
  const { score } = world;
  switch (step.do) {
    case "check":
      world.strays.at(-1)?.fill(NOISE);
      home.checkLaw();
      return stamp.check(block.bytes);
    case "rewrite":
      return stamp.renew(block.bytes);
    case "pause":
      return await pause(step.ms);
    case "lend":
      return await block.lend(pause(step.ms));
    case "structuredClone": {
      const out = structuredClone(block.bytes, {
        transfer: [block.bytes.buffer],
      });
      // Healed meanwhile; on the heap the bytes are where the buffer is.
      if (!home.isHeap && out.length % 8 === 0) stamp.check(block.bytes);
      await pause(0);
      return block.reattach(out);
    }
    case "worker": {
      const buffer = await world.worker.send(block.bytes.buffer);
      return block.reattach(new Uint8Array(buffer));
    }
    case "file":
      return await fileRound(world, block, stamp);
    case "socket":
      return await socketRound(world, block, stamp);
    case "byob":
      return await byobRound(world, block, stamp);
    case "race":
      return await race(world, block, step.ms);
    case "cut":
      return await cut(world, block);
    case "interrupt":
      return await interrupt(world, home, block);
    case "escape": {
      const { bytes } = block;
      world.strays.push(structuredClone(bytes, { transfer: [bytes.buffer] }));
      home.expectedLosses++;
      if (step.heal) block.bytes[0] = NOISE;
      block.release();
      return score.fault("buffers that left for good");
    }
    case "lateWrite":
      return lateWrite(world, home, block);
  }
}

async function fileRound(
  { file, score }: World,
  block: Block,
  stamp: Stamp,
): Promise<void> {
  await file.seek(0, Deno.SeekMode.Start);
  await block.lend((bytes) => writeAll(file, bytes));
  block.bytes.fill(0);
  await file.seek(0, Deno.SeekMode.Start);
  await block.lend((bytes) => readAll(file, bytes));
  stamp.check(block.bytes);
  score.bytes += 2 * block.size;
}

async function socketRound(
  { conn, score }: World,
  block: Block,
  stamp: Stamp,
): Promise<void> {
  await block.lend((bytes) => writeAll(conn, bytes), SOCKET);
  block.bytes.fill(0);
  await block.lend((bytes) => readAll(conn, bytes), SOCKET);
  stamp.check(block.bytes);
  score.bytes += 2 * block.size;
}

/** Each read takes the buffer along, and lend() takes it back. */
async function byobRound(
  { byob, score }: World,
  block: Block,
  stamp: Stamp,
): Promise<void> {
  await block.lend((bytes) => writeAll(byob.conn, bytes), SOCKET);
  block.bytes.fill(0);
  for (let at = 0; at < block.size;) {
    const { value } = await block.lend(
      (bytes) => byob.reader.read(bytes.subarray(at)),
      SOCKET,
    );
    at += value!.length;
  }
  stamp.check(block.bytes);
  score.bytes += 2 * block.size;
}

/** Gives up on a read and releases the block; the data comes later. */
async function race(
  { conn, score }: World,
  block: Block,
  ms: number,
): Promise<void> {
  const read = block.lend((bytes) => conn.read(bytes.subarray(0, 64)), SOCKET);
  await Promise.race([read, pause(ms)]);
  block.release();
  await writeAll(conn, new Uint8Array(64).fill(NOISE));
  let left = 64 - (await read ?? 0);
  const rest = new Uint8Array(64);
  while (left > 0) left -= await conn.read(rest.subarray(0, left)) ?? left;
  score.fault("reads given up, data later");
}

async function cut(world: World, block: Block): Promise<void> {
  const { conn, score } = world;
  const read = block.lend((bytes) => conn.read(bytes), SOCKET);
  const failed = read.then(() => false, () => true);
  shut(conn);
  if (!await failed) score.surprises.push(new Error("a cut read succeeded"));
  world.conn = await world.server.connect();
  score.fault("connections cut under a read");
}

/** A thread stays in the read and writes later: the block is lost, as it must be. */
async function interrupt(
  { score }: World,
  home: Home,
  block: Block,
): Promise<void> {
  if (!hasPosixShell) return;
  await using fifo = await Fifo.open();
  const read = block.lend((bytes) => fifo.reader.read(bytes));
  const failed = read.then(() => undefined, (error: unknown) => error);
  home.expectedLosses++;
  fifo.reader.close();
  const error = await failed;
  if (!(error instanceof Deno.errors.Interrupted)) {
    score.surprises.push(error ?? new Error("an interrupted read succeeded"));
  }
  await fifo.say("\xee".repeat(32));
  score.fault("file reads interrupted");
}

/** Native code writes after the lease; below a page, strict mode finds it later. */
function lateWrite({ score }: World, home: Home, block: Block): void {
  // Where an acquire waits the block is handed on at once, and at the end of the
  // pool its address goes away.
  const [{ waiting }] = home.stats();
  if (waiting > 0 || home.pool.closed) return;
  if (home.safety !== "strict" || block.size >= 4096) return;
  const late = new Uint8Array(
    Deno.UnsafePointerView.getArrayBuffer(block.pointer, block.size),
  );
  // It must be poisoned to be found; afterwards no lease has it.
  home.expectedLosses++;
  score.fault("late writes by address");
  try {
    block.release();
  } finally {
    late[100] = NOISE;
  }
}
