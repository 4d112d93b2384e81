// The seam through which a test sees every access to the words of a control block, atomic or plain. The
// pool's own code runs; in the test's hands are the globals that it reaches its words by: `Atomics`, and
// what makes arrays. Where this file is not imported there is nothing of it.

/** What the globals were before. */
export const real = {
  Atomics: globalThis.Atomics,
  Int32Array: globalThis.Int32Array,
  Float64Array: globalThis.Float64Array,
};

export type Words = Int32Array | Float64Array;

/** What an access is: a plain one, or the function of `Atomics`. */
export type AccessKind = "get" | "set" | keyof typeof Atomics & string;

/** Carries an access out, and gives what it gives. `a`, `b` and `c` are what it is called with after the index. */
export type Access = (
  kind: AccessKind,
  array: Words,
  at: number,
  a?: number,
  b?: number,
  c?: number,
) => unknown;

/** Carries an access out as if it were not watched. */
export const perform: Access = (kind, array, at, a, b, c) => {
  if (kind === "get") return array[at];
  if (kind === "set") return void (array[at] = a!);
  const act = Reflect.get(real.Atomics, kind);
  return Reflect.apply(act, real.Atomics, [array, at, a, b, c]);
};

let access: Access = perform;

/** From now on watched accesses are carried out by this function; returns the one before. */
export function accessBy(next: Access): Access {
  const before = access;
  access = next;
  return before;
}

const targets = new WeakMap<object, Words>();

/** An array whose every access is watched. */
function watch<T extends Words>(array: T): T {
  const watched = new Proxy(array, {
    get(array, key) {
      if (typeof key === "string" && isIndex(key)) {
        return access("get", array, Number(key));
      }
      if (key === "subarray") {
        return (from: number, to: number) => watch(array.subarray(from, to));
      }
      return Reflect.get(array, key, array);
    },
    set(array, key, value) {
      access("set", array, Number(key), value);
      return true;
    },
  });
  targets.set(watched, array);
  return watched;
}

function isIndex(key: string): boolean {
  const code = key.charCodeAt(0);
  return code >= 48 && code <= 57;
}

/** Arrays over shared memory are watched. */
function watching<T extends typeof Int32Array | typeof Float64Array>(
  kind: T,
): T {
  return new Proxy(kind, {
    construct(kind, args, self) {
      const array = Reflect.construct(kind, args, self);
      return args[0] instanceof SharedArrayBuffer ? watch(array) : array;
    },
  });
}

const watchingInt32Array = watching(real.Int32Array);
const watchingFloat64Array = watching(real.Float64Array);

/** Calls `act`; the arrays that it makes over shared memory are watched, for as long as they live. */
export function watchArrays<T>(act: () => T): T {
  globalThis.Int32Array = watchingInt32Array;
  globalThis.Float64Array = watchingFloat64Array;
  try {
    return act();
  } finally {
    globalThis.Int32Array = real.Int32Array;
    globalThis.Float64Array = real.Float64Array;
  }
}

const watchingAtomics = new Map<string | symbol, unknown>();

globalThis.Atomics = new Proxy(real.Atomics, {
  get(atomics, name) {
    const known = watchingAtomics.get(name);
    if (known !== undefined) return known;
    const value = Reflect.get(atomics, name);
    if (typeof value !== "function") return value;
    const kind = name as AccessKind;
    const call = (
      array: object,
      at: number,
      a?: number,
      b?: number,
      c?: number,
    ) => {
      const target = targets.get(array);
      // The process's page is not the pool's.
      if (target !== undefined) return access(kind, target, at, a, b, c);
      const args = [array, at, a, b, c];
      while (args.at(-1) === undefined) args.pop();
      return Reflect.apply(value, atomics, args);
    };
    watchingAtomics.set(name, call);
    return call;
  },
});
