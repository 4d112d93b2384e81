/**
 * 64 KiB go to a Worker, which looks at a byte of it, and back: by ticket, by tickets in batches, by
 * a message that takes the array along, by a message that copies it. Run as a Worker, this file is
 * the other side.
 */
import type { Block } from "@smriti/pool";
import {
  type BlockTicket,
  SharedBlockPool,
  type SharedPoolHandle,
} from "@smriti/pool/shared";

const SIZE = 65_536;
/** Blocks under way at once, in every contestant. */
const WINDOW = 64;

/** What comes and goes. */
type Message =
  | SharedPoolHandle
  | BlockTicket
  | Int32Array
  | Uint8Array<ArrayBuffer>;

/** Sends so many blocks and waits until they are back. */
type Turn = (
  send: Send,
  arrive: (use: (message: never) => void) => void,
) => Promise<void>;
type Send = (message: Message, transfer?: Transferable[]) => void;

/** Resolves after `WINDOW` answers. */
function answers<T extends Message>(
  arrive: Parameters<Turn>[1],
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

/** The sides that send. The array of the other contestants is as new as a block: all zeroes. */
const TURNS: Record<string, (pool: SharedBlockPool) => Turn> = {
  "tickets": (pool) => (send, arrive) => {
    for (const block of blocks(pool)) send(block.detach());
    return answers<BlockTicket>(
      arrive,
      WINDOW,
      (ticket) => pool.adopt(ticket).release(),
    );
  },
  "batches of tickets": (pool) => (send, arrive) => {
    send(pool.detachMany(blocks(pool)));
    return answers<Int32Array>(arrive, 1, (tickets) => {
      for (const block of pool.adoptMany(tickets)) block.release();
    });
  },
  "transfer list": () => (send, arrive) => {
    for (let i = 0; i < WINDOW; i++) {
      const bytes = new Uint8Array(SIZE);
      bytes[0] = 1;
      send(bytes, [bytes.buffer]);
    }
    return answers(arrive, WINDOW, () => {});
  },
  "clone": () => {
    const bytes = new Uint8Array(SIZE);
    return (send, arrive) => {
      for (let i = 0; i < WINDOW; i++) {
        bytes[0] = 1;
        send(bytes);
      }
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
      (message, transfer = []) => worker.postMessage(message, transfer),
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

/** The sides that answer. */
const BACK: Record<
  string,
  (pool: SharedBlockPool, message: never, send: Send) => void
> = {
  "tickets": (pool, ticket: BlockTicket, send) => {
    const block = pool.adopt(ticket);
    look(block.bytes);
    send(block.detach());
  },
  "batches of tickets": (pool, tickets: Int32Array, send) => {
    const all = pool.adoptMany(tickets);
    for (const { bytes } of all) look(bytes);
    send(pool.detachMany(all));
  },
  "transfer list": (_, bytes: Uint8Array<ArrayBuffer>, send) => {
    look(bytes);
    send(bytes, [bytes.buffer]);
  },
  "clone": (_, bytes: Uint8Array<ArrayBuffer>, send) => {
    look(bytes);
    send(bytes);
  },
};

function look(bytes: Uint8Array): void {
  if (bytes[0] !== 1) throw new Error(`${bytes[0]} instead of 1`);
}

if ("WorkerGlobalScope" in globalThis) {
  const scope = self as unknown as Worker;
  const back = BACK[(self as unknown as { name: string }).name];
  const send: Send = (message, transfer = []) =>
    scope.postMessage(message, transfer);
  scope.onmessage = ({ data: handle }: MessageEvent<SharedPoolHandle>) => {
    const pool = SharedBlockPool.attach(handle);
    scope.onmessage = ({ data }) => back(pool, data as never, send);
  };
}
