// Arguments that no sane caller passes, and some that a sane one might.

import type { Rng } from "../../support/rng.ts";

/** What the fuzz itself throws: to get it back is not to have lost it. */
export class Planted extends Error {
  override name = "Planted";
}

const OPTION_NAMES = [
  "blockSize",
  "maxBlocks",
  "initialBlocks",
  "reservedBlocks",
  "growThreshold",
  "growStep",
  "shrinkThreshold",
  "shrinkStep",
  "shrinkIntervalMs",
  "safety",
  "zero",
  "maxWaiting",
  "leakDetection",
  "maxAbandonedBytes",
  "overdueMs",
  "prefault",
  "hugePages",
  "backend",
  "name",
  "reserved",
  "signal",
  "timeoutMs",
  "tag",
  "socket",
  "upgrade",
  "nonsense",
];

const WORDS = [
  "",
  "x".repeat(300),
  "1",
  "trust",
  "revoke",
  "strict",
  "heap",
  "auto",
  "off",
  "all",
  "grow",
  "shrink",
  "exhausted",
  "leak",
  "overdue",
  "close",
  "__proto__",
];

// 2^31 is too many blocks and a timer too long, yet a size that is allowed.
const NUMBERS = [0, -0, 1, 2, 8, 64, -1, 1.5, 0.5, 1e-9, NaN, 2 ** 31, 2 ** 53];
const INFINITIES = [Infinity, -Infinity, Number.MIN_VALUE, 2 ** 46 + 1];

const quiet = <T>(promise: Promise<T>): Promise<T> => {
  promise.catch(() => {});
  return promise;
};

const boom = (): never => {
  throw new Planted("from an argument");
};

/** A proxy that throws whatever is done with it. */
const hostile = () =>
  new Proxy(function () {}, {
    get: boom,
    has: boom,
    ownKeys: boom,
    apply: boom,
    getPrototypeOf: boom,
    getOwnPropertyDescriptor: boom,
  });

function detached(): Uint8Array {
  const view = new Uint8Array(64);
  view.buffer.transfer();
  return view;
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

/** A signal whose methods fail: it passes `instanceof`. */
export const brokenSignal = (): AbortSignal =>
  Object.assign(new AbortController().signal, { addEventListener: boom });

const MAKERS: readonly ((rng: Rng) => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => false,
  (rng) => rng.pick(NUMBERS),
  (rng) => rng.pick(NUMBERS),
  (rng) => rng.pick(INFINITIES),
  (rng) => rng.pick(WORDS),
  (rng) => rng.pick(WORDS),
  () => 10n,
  () => Symbol("junk"),
  () => ({}),
  () => [],
  () => [{ blockSize: 64, maxBlocks: 1 }],
  () => Object.create(null),
  () => () => {},
  () => async () => {},
  () => boom,
  () => class {},
  () => new Date(NaN),
  () => new Map(),
  () => new Uint8Array(64),
  () => new ArrayBuffer(64),
  () => new ArrayBuffer(64, { maxByteLength: 128 }),
  () => new Uint8Array(new SharedArrayBuffer(64)),
  () => new DataView(new ArrayBuffer(64)),
  detached,
  revoked,
  hostile,
  () => new Proxy({}, {}),
  () => ({ then: boom }),
  () => ({ then: 1 }),
  () => ({ then: (resolve: (value: number) => void) => resolve(1) }),
  () => quiet(Promise.reject(new Planted("a promise"))),
  () => Promise.resolve(new Uint8Array(64)),
  () => AbortSignal.abort(new Planted("aborted")),
  () => AbortSignal.abort(),
  () => ({ aborted: true }),
  () => Object.create(AbortSignal.prototype),
  brokenSignal,
  (rng) => options(rng),
  (rng) => options(rng),
];

/** Anything at all. */
export function junk(rng: Rng): unknown {
  return rng.pick(MAKERS)(rng);
}

/** An object with option names, and anything behind them. */
export function options(rng: Rng): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (let left = 1 + rng.below(3); left > 0; left--) {
    const name = rng.pick(OPTION_NAMES);
    if (rng.chance(0.05)) Object.defineProperty(made, name, GETTER);
    else {
      const value = rng.pick(MAKERS.slice(0, -2))(rng);
      Object.defineProperty(made, name, { value, ...PLAIN });
    }
  }
  return made;
}

const PLAIN = { enumerable: true, configurable: true };
const GETTER = { get: boom, ...PLAIN };

/** Options of a pool of which one or two are wrong, or surprisingly right. */
export function poolOptions(rng: Rng): unknown {
  if (rng.chance(0.1)) return junk(rng);
  return { blockSize: 64, maxBlocks: 8, ...options(rng) };
}
