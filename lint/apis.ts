/**
 * What APIs of the runtime do with bytes: copied when the call returns, used until a promise or a
 * callback, or kept and sent at a time of their own.
 *
 * A table and how to look things up in it; no code is looked at here. What the table does not name
 * is not known, and nothing is reported of it.
 */

/**
 * - `copies`: copied or done with when the call returns
 * - `promise`: used in place until its promise settles
 * - `callback`: used in place until its callback runs; without one the end is not known
 * - `queues`: kept by reference and used later, and nothing says when
 */
export type Fate = "copies" | "promise" | "callback" | "queues";

/** Functions, by module and name; globals have no module; `*` is every name. */
export const FUNCTIONS: Readonly<Record<string, Fate>> = {
  "Deno.writeFile": "copies",
  "Deno.writeFileSync": "copies",
  "structuredClone": "copies",
  "postMessage": "copies",
  "fetch": "copies",
  "crypto.subtle.*": "copies",
  "crypto.getRandomValues": "copies",
  "WebAssembly.*": "copies",
  "JSON.stringify": "copies",
  "String": "copies",
  "Response": "copies",
  "Request": "copies",
  "Blob": "copies",
  "File": "copies",
  "Uint8Array": "copies",
  "Uint8ClampedArray": "copies",
  "DataView": "copies",
  "Buffer.from": "copies",
  "Buffer.concat": "copies",
  "Uint8Array.from": "copies",
  "Array.from": "copies",
  "TextDecoder": "copies",
  "node:buffer.Buffer.from": "copies",
  "node:buffer.Buffer.concat": "copies",
  "node:buffer.Blob": "copies",
  "node:crypto.webcrypto.subtle.*": "copies",
  "node:crypto.subtle.*": "copies",
  "node:crypto.getRandomValues": "copies",
  "node:crypto.scrypt": "callback",
  "node:crypto.randomFill": "callback",
  "node:crypto.pbkdf2": "callback",
  "node:crypto.hkdf": "callback",
  "node:crypto.sign": "copies",
  "node:crypto.verify": "copies",
  "node:crypto.*": "copies",
  "node:fs.writeFile": "callback",
  "node:fs.appendFile": "callback",
  "node:fs.read": "callback",
  "node:fs.write": "copies",
  "node:fs.writeFileSync": "copies",
  "node:fs.appendFileSync": "copies",
  "node:fs.writeSync": "copies",
  "node:fs.readSync": "copies",
  "node:fs/promises.writeFile": "promise",
  "node:fs/promises.appendFile": "promise",
  "node:zlib.*": "copies",
  "node:stream.pipeline": "queues",
  "node:stream/promises.pipeline": "queues",
  "node:stream.Readable.from": "queues",
  "node:stream.Duplex.from": "queues",
  "ReadableStream.from": "queues",
};

/** What a kind of object does with bytes, and how code shows that it has one. */
export interface Receiver {
  /** Names of its TypeScript types. */
  readonly types: readonly string[];
  /** Calls and constructors that give one, or a promise of one. */
  readonly makers: readonly string[];
  /** What it is called where neither its type nor its maker is in sight. */
  readonly names?: RegExp;
  readonly methods: Readonly<Record<string, Fate>>;
  /** The rule that an operation on it breaks; `lend-io` if not given. */
  readonly rule?: "no-queue";
  /** Methods that give the bytes back: first in an array, or as the member `buffer`. */
  readonly returns?: Readonly<Record<string, "array" | "buffer">>;
}

/** Kinds of objects whose methods take bytes. The first one whose name fits wins. */
export const RECEIVERS: Readonly<Record<string, Receiver>> = {
  conn: {
    types: [
      "Deno.Conn",
      "Deno.TcpConn",
      "Deno.TlsConn",
      "Deno.UnixConn",
      "Deno.VsockConn",
    ],
    makers: [
      "Deno.connect",
      "Deno.connectTls",
      "Deno.startTls",
      "Deno.upgradeHttpRaw",
    ],
    names:
      /^(.*conn|.*connection|upstream|downstream|client|peer|remote|tcp|tls)$/i,
    methods: { read: "promise", write: "promise" },
  },
  file: {
    types: ["Deno.FsFile"],
    makers: [
      "Deno.open",
      "Deno.openSync",
      "Deno.create",
      "Deno.createSync",
      "Deno.stdin",
      "Deno.stdout",
      "Deno.stderr",
    ],
    names: /^(.*file|fsfile|f|fh|.*handle|fd|stdin|stdout|stderr)$/i,
    methods: {
      read: "promise",
      write: "promise",
      writeFile: "promise",
      appendFile: "promise",
    },
  },
  "Reader, Writer": {
    types: ["Reader", "Writer", "Deno.Reader", "Deno.Writer"],
    makers: [],
    methods: { read: "promise", write: "promise" },
  },
  FileHandle: {
    types: ["FileHandle", "fs.FileHandle", "fs.promises.FileHandle"],
    makers: ["node:fs/promises.open"],
    methods: {
      read: "promise",
      write: "copies",
      writeFile: "promise",
      appendFile: "promise",
    },
    returns: { read: "buffer" },
  },
  "datagram conn": {
    types: ["Deno.DatagramConn"],
    makers: ["Deno.listenDatagram"],
    names: /^(datagram|udpConn)$/i,
    methods: { send: "promise", receive: "promise" },
    returns: { receive: "array" },
  },
  "dgram.Socket": {
    types: ["dgram.Socket"],
    makers: ["node:dgram.createSocket"],
    names: /^(udp|dgram|udpSocket)$/i,
    methods: { send: "callback" },
  },
  ReadableStreamBYOBReader: {
    types: ["ReadableStreamBYOBReader"],
    makers: [],
    names: /^(.*reader|byob)$/i,
    methods: { read: "promise" },
  },
  WritableStreamDefaultWriter: {
    types: ["WritableStreamDefaultWriter"],
    makers: [],
    names: /^.*writer$/i,
    methods: { write: "promise" },
    rule: "no-queue",
  },
  controller: {
    types: [
      "ReadableStreamDefaultController",
      "ReadableByteStreamController",
      "TransformStreamDefaultController",
      "ReadableStreamController",
    ],
    makers: [],
    names: /^(.*controller|ctrl|ctl)$/i,
    methods: { enqueue: "queues" },
  },
  "stream.Readable": {
    types: ["Readable", "stream.Readable", "Duplex"],
    makers: [
      "node:stream.Readable",
      "node:stream.Duplex",
      "node:stream.Transform",
    ],
    methods: { push: "queues", unshift: "queues" },
  },
  "stream.PassThrough": {
    types: ["PassThrough", "stream.PassThrough"],
    makers: ["node:stream.PassThrough"],
    methods: {
      push: "queues",
      unshift: "queues",
      write: "queues",
      end: "queues",
    },
  },
  "http.ServerResponse": {
    types: [
      "ServerResponse",
      "http.ServerResponse",
      "express.Response",
      "FastifyReply",
    ],
    makers: [],
    names: /^(res|resp|response|reply)$/i,
    methods: { write: "callback", end: "callback", send: "callback" },
  },
  "http.ClientRequest": {
    types: ["ClientRequest", "http.ClientRequest"],
    makers: [
      "node:http.request",
      "node:https.request",
      "node:http.get",
      "node:https.get",
    ],
    names: /^(clientReq|clientRequest|outgoing)$/i,
    methods: { write: "callback", end: "callback" },
  },
  "net.Socket": {
    types: ["net.Socket", "tls.TLSSocket", "TLSSocket", "Socket"],
    makers: [
      "node:net.connect",
      "node:net.createConnection",
      "node:net.Socket",
      "node:tls.connect",
    ],
    names: /^(.*socket|sock)$/i,
    methods: { write: "callback", end: "callback" },
  },
  "fs.WriteStream": {
    types: [
      "WriteStream",
      "fs.WriteStream",
      "Writable",
      "stream.Writable",
      "ServerHttp2Stream",
      "http2.ServerHttp2Stream",
      "ClientHttp2Stream",
      "http2.ClientHttp2Stream",
    ],
    makers: ["node:fs.createWriteStream", "node:stream.Writable"],
    names: /^(.*stream|ws)$/i,
    methods: { write: "callback", end: "callback" },
  },
  "child.stdin": {
    types: [],
    makers: ["process.stdout", "process.stderr", "node:process.stdout"],
    methods: { write: "callback", end: "callback" },
  },
  WebSocket: {
    types: ["WebSocket", "WebSocketStream"],
    makers: ["WebSocket", "WebSocketStream"],
    methods: { send: "copies" },
  },
  port: {
    types: ["Worker", "MessagePort", "BroadcastChannel"],
    makers: ["Worker", "BroadcastChannel", "node:worker_threads.Worker"],
    names: /^(.*worker|.*port|.*channel|self|parent)$/i,
    methods: { postMessage: "copies" },
  },
  "Deno.Kv": {
    types: ["Deno.Kv"],
    makers: ["Deno.openKv"],
    names: /^kv$/i,
    methods: { set: "copies" },
  },
  TextDecoder: {
    types: ["TextDecoder"],
    makers: ["TextDecoder"],
    names: /^(.*decoder|utf8|text)$/i,
    methods: { decode: "copies" },
  },
  TextEncoder: {
    types: ["TextEncoder"],
    makers: ["TextEncoder"],
    names: /^(.*encoder|enc)$/i,
    methods: { encodeInto: "copies" },
  },
  hash: {
    types: ["Hash", "Hmac"],
    makers: ["node:crypto.createHash", "node:crypto.createHmac"],
    names: /^(.*hash|hasher|hmac|digest|cipher|md5|sha\d*)$/i,
    methods: { update: "copies" },
  },
};

/** Functions that settle when the first of their promises does, or a time is over. */
export const RACES: ReadonlySet<string> = new Set([
  "Promise.race",
  "Promise.any",
  "std/async.deadline",
  "std/async.abortable",
]);

/** Functions that call what they are given at a later time, and do not say when they have. */
export const DEFERRED: ReadonlySet<string> = new Set([
  "setTimeout",
  "setInterval",
  "setImmediate",
  "queueMicrotask",
  "requestAnimationFrame",
  "process.nextTick",
  "node:process.nextTick",
  "node:timers.setTimeout",
  "node:timers.setInterval",
  "node:timers.setImmediate",
]);

/** Methods that take a function to call at an event. */
const LISTENS = /^(on|once|addListener|prependListener)$/;
/** What calls its listeners when the operating system or a peer says so, never at once. */
const EMITTERS =
  /^(req|request|res|response|.*socket|sock|ws|.*server|conn|connection|child|proc|process|.*worker|.*port)$/i;

/** Whether a method of something of this name takes a function to be called at a later event. */
export function isListening(name: string, method: string): boolean {
  return method === "addEventListener" ||
    LISTENS.test(method) && EMITTERS.test(name);
}

/** Functions that only look at what they are given. */
const LOOKERS =
  /^(console\.|Deno\.inspect|assert|expect|Object\.(keys|is|freeze)|Reflect\.has|Array\.isArray|ArrayBuffer\.isView|Boolean$|Number$|log|debug|info|warn|trace|print)/;

/** Whether a function only looks at what it is given, by its name or path. */
export function onlyLooks(path: string): boolean {
  return LOOKERS.test(path);
}

/** Packages with pools of their own. */
const OTHER_POOLS =
  /(^|[/:@])(pg|pg-pool|postgres|postgresjs|mysql2?|mariadb|generic-pool|tarn|lightning-pool|knex|tedious|mssql|oracledb|ioredis|redis|mongodb|piscina|workerpool|tinypool|poolifier|threads|undici|puppeteer-cluster|better-sqlite-pool|object-pool|reusify|typeorm|sequelize|drizzle-orm|kysely)([/@.]|$)/;

/** Whether an import is of a package with pools of its own. */
export function hasOtherPools(specifier: string): boolean {
  return OTHER_POOLS.test(specifier);
}

const BY_PATH = new Map(Object.entries(FUNCTIONS));

/** What a function does with bytes, by its path. */
export function fateOfFunction(path: string): Fate | undefined {
  return BY_PATH.get(path) ??
    BY_PATH.get(`${path.slice(0, path.lastIndexOf("."))}.*`);
}

const BY_MAKER = byName(({ makers }) => makers);
const BY_TYPE = byName(({ types }) => types);

/** The kinds of objects that have a method, with what they are called. */
const BY_METHOD = new Map<string, { kind: string; names: RegExp }[]>();
for (const [kind, { names, methods }] of Object.entries(RECEIVERS)) {
  for (const method of names === undefined ? [] : Object.keys(methods)) {
    const known = BY_METHOD.get(method) ?? [];
    BY_METHOD.set(method, [...known, { kind, names: names! }]);
  }
}

/** The kind of object that a call or a constructor gives. */
export function receiverMadeBy(path: string): string | undefined {
  return BY_MAKER.get(path);
}

/** The kind of object that a TypeScript type names. */
export function receiverTyped(type: string): string | undefined {
  return BY_TYPE.get(type);
}

/** The kind of object that something of this name, with this method, is likely to be. */
export function receiverNamed(
  name: string,
  method: string,
): string | undefined {
  return BY_METHOD.get(method)?.find(({ names }) => names.test(name))?.kind;
}

/** What a method of a kind of object does with bytes. */
export function fateOfMethod(kind: string, method: string): Fate | undefined {
  const methods = RECEIVERS[kind]?.methods;
  return methods !== undefined && Object.hasOwn(methods, method)
    ? methods[method]
    : undefined;
}

function byName(
  names: (receiver: Receiver) => readonly string[],
): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(RECEIVERS).flatMap(([kind, receiver]) =>
      names(receiver).map((name): [string, string] => [name, kind])
    ),
  );
}
