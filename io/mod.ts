/**
 * Blocks between a pool and a server's traffic: request bodies, TCP connections, files.
 *
 * | to do | use | instead of | from about |
 * |---|---|---|---|
 * | a whole body, of at most a block | {@linkcode readBody} | `await req.bytes()` | 64 KiB |
 * | a whole body, of any length | {@linkcode collect} | `await req.bytes()` | a block |
 * | a body, to pass on | {@linkcode collect}, `chain.stream()` | `await req.bytes()` | a block |
 * | what a parser finds | {@linkcode collector} | concatenation, `formData()` | 64 KiB |
 * | a body piece by piece | {@linkcode chunks} | `for await (… of req.body)` | 64 KiB |
 * | a body line by line | {@linkcode lines} | `TextDecoderStream` and `split` | 64 KiB |
 * | one connection or file into another | {@linkcode copy} | `a.readable.pipeTo(b.writable)` | 4 KiB |
 * | messages with a length in front | {@linkcode readFrames} | `conn.readable` and concatenation | some 100 bytes |
 * | any other protocol | {@linkcode bufferedReader} | the same | some 100 bytes |
 *
 * All of them take an `AbortSignal`, release what they acquire on every way out, cancel the body
 * that they do not read to its end, and leave what you gave them to you. A failed, cut or aborted
 * transfer never costs the pool a block, except for one case that the runtime forces: a file that
 * is closed while it is read (see {@linkcode copy}).
 *
 * Bodies come from a `Request`, a `Response`, a `ReadableStream` or any async iterable of bytes: a
 * generator, a node `Readable`, an `IncomingMessage`. Give a node stream itself, never what
 * `Readable.toWeb()` makes of it: to cancel that ends the process when more data arrives (Deno
 * 2.9.6), and nothing tells it from other streams.
 *
 * What is lent for a step, a {@linkcode Chunk} or a {@linkcode Frame}, is an object with `bytes`
 * and not bytes itself, so that a stream or a `Response` that is handed one fails at once. There is
 * nothing here for WebSockets, `Deno.Kv` and WebCrypto: they copy what they are given, so hand them
 * `block.bytes` as it is. And never enqueue a block's bytes into a stream: it gives no sign of when
 * it has sent them.
 *
 * @example Receive an upload, answer with its size
 * ```ts
 * import { BlockPool } from "@smriti/pool";
 * import { readBody } from "@smriti/pool/io";
 *
 * await using pool = new BlockPool({ blockSize: 256 * 1024, maxBlocks: 64 });
 * await using server = Deno.serve({ hostname: "127.0.0.1", port: 0 }, async (request) => {
 *   using block = await pool.acquire({ timeoutMs: 1000 });
 *   const signal = AbortSignal.timeout(30_000);
 *   const body = await readBody(request, block, { signal });
 *   if (body === null) return new Response("too large", { status: 413 });
 *   return new Response(`${body.byteLength} bytes`);
 * });
 *
 * const url = `http://127.0.0.1:${server.addr.port}`;
 * const response = await fetch(url, { method: "POST", body: new Uint8Array(100_000) });
 * console.log(await response.text());
 * ```
 *
 * @module
 */
export { BlockChain } from "./block_chain.ts";
export { type BufferedReader, bufferedReader } from "./buffered_reader.ts";
export type { WaitOptions } from "./check.ts";
export { chunks } from "./chunks.ts";
export { collect, type CollectOptions } from "./collect.ts";
export {
  type Collector,
  collector,
  type CollectorOptions,
} from "./collector.ts";
export { copy, type CopyOptions } from "./copy.ts";
export { type LineOptions, lines } from "./lines.ts";
export {
  type Frame,
  type FrameOptions,
  type HeadedFrameOptions,
  readFrames,
} from "./read_frames.ts";
export { readBody, type ReadBodyOptions } from "./read_body.ts";
export type { BodySource } from "./source.ts";
export type { Reader, Sink, Writer } from "./streams.ts";
export type { Chunk } from "./window.ts";
