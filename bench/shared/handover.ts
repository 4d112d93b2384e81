/**
 * 64 KiB go to a Worker by message, which looks at a byte of it, and back: as a ticket, as tickets in
 * batches, as an array that the message takes along (the same one, or a new one each time), or
 * copies. Run as a Worker, this file is the other side. Without messages: `patterns.ts`.
 */
import type { Block } from "@smriti/pool";
import {
  type BlockTicket,
  SharedBlockPool,
  type SharedPoolHandle,
} from "@smriti/pool/shared";

const SIZE = 65_536;
/** Blocks under way at once, in every contestant. */
const WINDOW = 256;
/** Tickets in one message, of those that go in batches. */
const BATCH = 64;

/** What comes and goes. */
type Message =
  | SharedPoolHandle
  | BlockTicket
  | Int32Array
  | Uint8Array<ArrayBuffer>;

/** Sends `WINDOW` blocks and waits until they are back. */
type Turn = (send: Send, arrive: Arrive) => Promise<void>;
type Send = (message: Message, transfer?: Transferable[]) => void;
type Arrive = (use: (message: never) => void) => void;

/** Resolves after so many answers. */
function answers<T extends Message>(
  arrive: Arrive,
  count: number,
  use: (message: T) => void,
): Promise<void> {
  return new Promise((resolve) =>
    arrive((message) => {
      use(message);
      if (--count === 0) resolve();
    })
  );
}

function blocks(pool: SharedBlockPool): Block[] {
  return Array.from({ length: WINDOW }, () => {
    const block = pool.acquireSync();
    block.bytes[0] = 1;
    return block;
  });
}

function arrays(): Uint8Array<ArrayBuffer>[] {
  return Array.from({ length: WINDOW }, () => new Uint8Array(SIZE).fill(1));
}

/** Arrays that go along with the message and come back. */
function transfer(make: (before: Uint8Array<ArrayBuffer>[]) => typeof before) {
  let held = arrays();
  return (send: Send, arrive: Arrive) => {
    held = make(held);
    for (const bytes of held.splice(0)) send(bytes, [bytes.buffer]);
    return answers<Uint8Array<ArrayBuffer>>(
      arrive,
      WINDOW,
      (bytes) => held.push(bytes),
    );
  };
}

/** The sides that send. The same memory goes there and back, but for the arrays made anew. */
const TURNS: Record<string, (pool: SharedBlockPool) => Turn> = {
  "tickets, by message": (pool) => {
    const held = blocks(pool);
    return (send, arrive) => {
      for (const block of held.splice(0)) send(block.detach());
      return answers<BlockTicket>(
        arrive,
        WINDOW,
        (ticket) => held.push(pool.adopt(ticket)),
      );
    };
  },
  "batches, by message": (pool) => {
    const held = blocks(pool);
    return (send, arrive) => {
      while (held.length > 0) send(pool.detachMany(held.splice(0, BATCH)));
      return answers<Int32Array>(
        arrive,
        WINDOW / BATCH,
        (tickets) => held.push(...pool.adoptMany(tickets)),
      );
    };
  },
  "transfer list": () => transfer((before) => before),
  "new and transfer list": () => transfer(() => arrays()),
  "clone": () => {
    const held = arrays();
    return (send, arrive) => {
      for (const bytes of held) send(bytes);
      return answers(arrive, WINDOW, () => {});
    };
  },
};

/** Who can do it. */
export const WAYS = Object.keys(TURNS);

/** Nanoseconds for one block, there and back, warm. */
export async function nsByWay(way: string, sliceMs: number): Promise<number> {
  const pool = SharedBlockPool.create({ blockSize: SIZE, maxBlocks: 256 });
  const worker = new Worker(import.meta.url, { type: "module", name: way });
  worker.postMessage(pool.handle);
  const turn = TURNS[way](pool);
  const go = () =>
    turn(
      (message, transfer) => post(worker, message, transfer),
      (use) => worker.onmessage = ({ data }) => use(data as never),
    );
  for (let i = 0; i < 20; i++) await go();
  const start = performance.now();
  let turns = 0;
  while (performance.now() - start < sliceMs) {
    await go();
    turns++;
  }
  const ms = performance.now() - start;
  worker.terminate();
  return ms * 1e6 / (turns * WINDOW);
}

/** Without so much as an empty transfer list where nothing is transferred: that would cost, too. */
function post(to: Worker, message: Message, transfer?: Transferable[]): void {
  if (transfer === undefined) to.postMessage(message);
  else to.postMessage(message, transfer);
}

/** The sides that answer. */
const BACK: Record<string, (pool: SharedBlockPool, send: Send) => Answer> = {
  "tickets, by message": (pool, send) => (ticket: BlockTicket) => {
    const block = pool.adopt(ticket);
    look(block.bytes);
    send(block.detach());
  },
  "batches, by message": (pool, send) => (tickets: Int32Array) => {
    const all = pool.adoptMany(tickets);
    for (const { bytes } of all) look(bytes);
    send(pool.detachMany(all));
  },
  "transfer list": sendBack,
  "new and transfer list": sendBack,
  "clone": (_, send) => (bytes: Uint8Array<ArrayBuffer>) => {
    look(bytes);
    send(bytes);
  },
};
type Answer = (message: never) => void;

function sendBack(_: SharedBlockPool, send: Send): Answer {
  return (bytes: Uint8Array<ArrayBuffer>) => {
    look(bytes);
    send(bytes, [bytes.buffer]);
  };
}

function look(bytes: Uint8Array): void {
  if (bytes[0] !== 1) throw new Error(`${bytes[0]} instead of 1`);
}

if ("WorkerGlobalScope" in globalThis) {
  const scope = self as unknown as Worker;
  const back = BACK[(self as unknown as { name: string }).name];
  const send: Send = (message, transfer) => post(scope, message, transfer);
  scope.onmessage = ({ data: handle }: MessageEvent<SharedPoolHandle>) => {
    const pool = SharedBlockPool.attach(handle);
    const answer = back(pool, send);
    scope.onmessage = ({ data }) => answer(data as never);
  };
}
