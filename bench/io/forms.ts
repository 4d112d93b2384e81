/**
 * Servers that take files out of multipart forms, all of each file in memory, and answer with its
 * length and its last byte.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import busboy from "busboy";
import { BlockPool } from "@smriti/pool";
import { collector } from "@smriti/pool/io";

const hostname = "127.0.0.1";
const LIMIT = 8 << 20;

const FORMS: Record<string, () => (request: Request) => Promise<number>> = {
  "formData()": () => async (request) => {
    let seen = 0;
    for (const value of (await request.formData()).values()) {
      const bytes = await (value as File).bytes();
      seen += bytes.length + bytes[bytes.length - 1];
    }
    return seen;
  },
  "busboy, collector": () => {
    const pool = new BlockPool({ blockSize: 64 * 1024, maxBlocks: 2048 });
    const take = async (stream: Readable) => {
      using filling = collector(pool, { limit: LIMIT });
      for await (const part of stream) await filling.write(part);
      using chain = filling.finish()!;
      return chain.byteLength + chain.slice(-1)[0];
    };
    return async (request) => {
      const form = busboy({ headers: Object.fromEntries(request.headers) });
      const files: Promise<number>[] = [];
      form.on("file", (_, stream) => files.push(take(stream)));
      await pipeline(Readable.fromWeb(request.body as never), form);
      return (await Promise.all(files)).reduce((sum, seen) => sum + seen, 0);
    };
  },
};

/** Listens; gives the port. */
export function serveForms(contestant: string): number {
  const read = FORMS[contestant]();
  const server = Deno.serve(
    { hostname, port: 0, onListen() {} },
    async (request) => new Response(String(await read(request))),
  );
  return server.addr.port;
}
