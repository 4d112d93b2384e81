/**
 * The public API of Smriti by its names: what makes a pool, what gives blocks, what a block has.
 *
 * Names only: nothing is imported, so the plugin costs no pool and needs no permission.
 */

/** Modules of the package, by whatever specifier: JSR, npm, a URL, an import map. */
const MODULE = /(^|[^a-z])smriti([^a-z]|$)/i;

/** Whether an import is of this package. */
export function isSmritiModule(specifier: string): boolean {
  return MODULE.test(specifier);
}

/** Classes whose instances are pools. */
export const POOL_CLASSES: ReadonlySet<string> = new Set([
  "BlockPool",
  "SizeClassPool",
  "SharedBlockPool",
]);
/** Static functions that give a pool. */
export const POOL_MAKERS: ReadonlySet<string> = new Set([
  "create",
  "attach",
  "join",
]);
/** Names that are Smriti's also when they come through a module of the user's own. */
export const OWN_NAMES: ReadonlySet<string> = new Set([
  ...POOL_CLASSES,
  "readBody",
  "chunks",
  "readFrames",
  "copy",
]);

/** What a method of a pool gives. */
export const ACQUIRES: ReadonlyMap<
  string,
  {
    readonly isPromise: boolean;
    readonly many: boolean;
    readonly maybe: boolean;
  }
> = new Map([
  ["acquire", { isPromise: true, many: false, maybe: false }],
  ["acquireMany", { isPromise: true, many: true, maybe: false }],
  ["tryAcquire", { isPromise: false, many: false, maybe: true }],
  ["acquireSync", { isPromise: false, many: false, maybe: false }],
  ["acquireBlocking", { isPromise: false, many: false, maybe: false }],
  ["adopt", { isPromise: false, many: false, maybe: false }],
  ["adoptMany", { isPromise: false, many: true, maybe: false }],
]);

/** Methods of a block that end its lease. */
export const ENDS: ReadonlyMap<string, "release" | "detach" | "abandon"> =
  new Map([
    ["release", "release"],
    ["@dispose", "release"],
    ["detach", "detach"],
    ["abandon", "abandon"],
  ]);
/** Members of a block that throw when its lease has ended. */
export const NEEDS_LEASE: ReadonlySet<string> = new Set([
  "bytes",
  "first",
  "pointer",
  "lend",
  "reattach",
  "release",
  "detach",
  "abandon",
]);
/** Members of a block. */
export const BLOCK_MEMBERS: ReadonlySet<string> = new Set([
  ...NEEDS_LEASE,
  "size",
  "tag",
  "released",
  "@dispose",
]);
/** Members that hardly anything but a block has. */
export const TELLING_MEMBERS: ReadonlySet<string> = new Set([
  "bytes",
  "pointer",
  "lend",
  "reattach",
  "abandon",
]);
/** Members that the bytes of a block have and the block has not. */
export const BYTES_MEMBERS: ReadonlySet<string> = new Set([
  "length",
  "byteLength",
  "byteOffset",
  "buffer",
  "set",
  "subarray",
  "slice",
  "fill",
  "at",
  "copyWithin",
  "indexOf",
  "toHex",
  "toBase64",
]);
/** Methods of an array of bytes that give a view of the same memory. */
export const VIEW_METHODS: ReadonlySet<string> = new Set([
  "subarray",
  "fill",
  "reverse",
  "sort",
  "copyWithin",
]);
