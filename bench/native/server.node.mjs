/** The servers of bench/io on Node, as one would write them there. Arguments as for server.go. */
import { Buffer } from "node:buffer";
import http from "node:http";
import net from "node:net";
import process from "node:process";
import { answer, framing } from "./answer.mjs";

const [kind, target] = process.argv.slice(2);

const KINDS = {
  uploads: () =>
    http.createServer(async (request, response) => {
      const parts = [];
      for await (const part of request) parts.push(part);
      const body = Buffer.concat(parts);
      response.end(String(body.length + body[body.length - 1]));
    }),
  proxy: () =>
    net.createServer({ noDelay: true }, (client) => {
      const upstream = net.connect({
        port: Number(target),
        host: "127.0.0.1",
        noDelay: true,
      });
      client.on("error", () => upstream.destroy());
      upstream.on("error", () => client.destroy());
      client.pipe(upstream).pipe(client);
    }),
  frames: () =>
    net.createServer({ noDelay: true }, (client) => {
      const reply = (byte) => client.write(Uint8Array.of(byte, 0, 0, 0));
      client.on("error", () => {});
      client.on("data", framing(reply));
    }),
};

const server = KINDS[kind]();
server.listen(0, "127.0.0.1", () => answer(server.address().port));
