/** The servers of bench/io on Bun's own APIs. Arguments as for server.go. */
import process from "node:process";
import { answer, framing } from "./answer.mjs";

const { Bun } = globalThis;
const [kind, target] = process.argv.slice(2);
const hostname = "127.0.0.1";

/** A socket with what it could not send yet. */
const state = () => ({ rest: [], peer: undefined, take: undefined });

function send(to, bytes) {
  const { rest } = to.data;
  const sent = rest.length > 0 ? 0 : Math.max(0, to.write(bytes));
  if (sent < bytes.length) rest.push(bytes.subarray(sent));
}

const socket = {
  data: (from, bytes) => from.data.take(bytes),
  drain(to) {
    const all = to.data.rest.splice(0);
    for (const bytes of all) send(to, bytes);
  },
  close: ({ data }) => data.peer?.end(),
  error() {},
};

const KINDS = {
  uploads: () =>
    Bun.serve({
      hostname,
      port: 0,
      async fetch(request) {
        const body = await request.bytes();
        return new Response(String(body.length + body[body.length - 1]));
      },
    }),
  proxy: () =>
    Bun.listen({
      hostname,
      port: 0,
      socket: {
        ...socket,
        open(client) {
          const early = [];
          client.data = { ...state(), take: (bytes) => early.push(bytes) };
          Bun.connect({
            hostname,
            port: Number(target),
            socket: {
              ...socket,
              open(upstream) {
                const take = (bytes) => send(client, bytes);
                upstream.data = { ...state(), peer: client, take };
                client.data.peer = upstream;
                client.data.take = (bytes) => send(upstream, bytes);
                for (const bytes of early) send(upstream, bytes);
              },
            },
          });
        },
      },
    }),
  frames: () =>
    Bun.listen({
      hostname,
      port: 0,
      socket: {
        ...socket,
        open(client) {
          const reply = (byte) => send(client, Uint8Array.of(byte, 0, 0, 0));
          client.data = { ...state(), take: framing(reply) };
        },
      },
    }),
};

answer(KINDS[kind]().port);
