/**
 * Servers that pass a body on, or put it into a file: proxies of a store that wants its hash first,
 * and uploads that are not looked at.
 */
import { createHash } from "node:crypto";
import { BlockPool } from "@smriti/pool";
import { chunks, collect } from "@smriti/pool/io";

const hostname = "127.0.0.1";

type Store = (request: Request, target: string) => Promise<Response>;

function pass(
  target: string,
  hash: string,
  body: BodyInit,
): Promise<Response> {
  return fetch(target, { method: "PUT", headers: { "x-hash": hash }, body });
}

const STORES: Record<string, () => Store> = {
  "bytes(), fetch": () => async (request, target) => {
    const bytes = await request.bytes();
    const hash = createHash("md5").update(bytes).digest("hex");
    return await pass(target, hash, bytes);
  },
  "collect, stream()": () => {
    const pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 2048 });
    return async (request, target) => {
      using chain = (await collect(request, pool))!;
      const hash = createHash("md5");
      for (const { bytes } of chain.chunks()) hash.update(bytes);
      return await pass(target, hash.digest("hex"), chain.stream());
    };
  },
  "pipeTo": () => async (request, target) => {
    const file = await Deno.open(target, { write: true });
    await request.body!.pipeTo(file.writable);
    return new Response("stored");
  },
  "chunks": () => {
    const pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 256 });
    return async (request, target) => {
      using file = await Deno.open(target, { write: true });
      for await (const { bytes } of chunks(request, pool)) {
        for (let at = 0; at < bytes.length;) {
          at += await file.write(bytes.subarray(at));
        }
      }
      return new Response("stored");
    };
  },
};

/** Listens; gives the port. `target`: the store's address, or a path. */
export function serveStore(contestant: string, target: string): number {
  const store = STORES[contestant]();
  const server = Deno.serve(
    { hostname, port: 0, onListen() {} },
    async (request) =>
      new Response(await (await store(request, target)).text()),
  );
  return server.addr.port;
}
