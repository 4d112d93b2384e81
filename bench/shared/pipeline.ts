/**
 * A server that has its uploads hashed by two Workers, with blocks of a shared pool or with arrays
 * that go along with the message. Run as a Worker, this file hashes.
 *
 *     deno run -A bench/shared/pipeline.ts CONTESTANT
 */
import { createHash } from "node:crypto";
import { readBody } from "@smriti/pool/io";
import {
  type BlockTicket,
  SharedBlockPool,
  type SharedPoolHandle,
} from "@smriti/pool/shared";
import { answer } from "../child.ts";

const SIZE = 1024 * 1024;

/** What a Worker is sent: the pool, or one upload. */
type Message =
  | { handle: SharedPoolHandle }
  | { id: number; ticket: BlockTicket; size: number }
  | { id: number; bytes: Uint8Array<ArrayBuffer> };

/** The answer that `bench/io/load.ts` checks, and the hash. */
interface Hashed {
  readonly id: number;
  readonly text: string;
  readonly hash: string;
}

function serve(contestant: string): Promise<never> {
  const pool = SharedBlockPool.create({ blockSize: SIZE, maxBlocks: 64 });
  const waiting = new Map<number, (hashed: Hashed) => void>();
  const workers = [0, 1].map(() => {
    const worker = new Worker(import.meta.url, { type: "module" });
    worker.postMessage({ handle: pool.handle } satisfies Message);
    worker.onmessage = ({ data }: MessageEvent<Hashed>) => {
      waiting.get(data.id)!(data);
      waiting.delete(data.id);
    };
    return worker;
  });
  let jobs = 0;
  const send = (
    message: (id: number) => Message,
    transfer: Transferable[],
  ): Promise<Hashed> => {
    const id = jobs++;
    workers[id % workers.length].postMessage(message(id), transfer);
    return new Promise((resolve) => waiting.set(id, resolve));
  };
  const ways: Record<string, (request: Request) => Promise<Hashed>> = {
    "shared pool": async (request) => {
      const block = pool.tryAcquire() ?? await pool.acquire();
      const size = (await readBody(request, block))!.length;
      const ticket = block.detach();
      return await send((id) => ({ id, ticket, size }), []);
    },
    "transferred arrays": async (request) => {
      const bytes = await request.bytes();
      return await send((id) => ({ id, bytes }), [bytes.buffer]);
    },
  };
  const way = ways[contestant];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const { text, hash } = await way(request);
      return new Response(text, { headers: { "x-hash": hash } });
    },
  );
  return answer({ port: server.addr.port });
}

function hash(id: number, bytes: Uint8Array): Hashed {
  const hash = createHash("sha256").update(bytes).digest("hex");
  return { id, text: `${bytes.length + bytes[bytes.length - 1]}`, hash };
}

if ("WorkerGlobalScope" in globalThis) {
  const scope = self as unknown as Worker;
  let pool: SharedBlockPool;
  scope.onmessage = ({ data }: MessageEvent<Message>) => {
    if ("handle" in data) pool = SharedBlockPool.attach(data.handle);
    else if ("bytes" in data) scope.postMessage(hash(data.id, data.bytes));
    else {
      const block = pool.adopt(data.ticket);
      scope.postMessage(hash(data.id, block.bytes.subarray(0, data.size)));
      block.release(data.size);
    }
  };
} else await serve(Deno.args[0]);
