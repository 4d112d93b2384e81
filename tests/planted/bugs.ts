// Guards of the library, each switched off by one change of its source, and the tests that must
// then fail. A change must match exactly once: whoever moves the code has to look here.

import { SHARED_BUGS } from "./shared_bugs.ts";

/** One guard switched off. */
export interface Bug {
  /** What is switched off. */
  readonly what: string;
  /** Source file, from the root. */
  readonly file: string;
  /** Text that is there exactly once. */
  readonly find: string;
  /** What stands there instead. */
  readonly put: string;
  /** Test files that must fail, without `tests/` and `_test.ts`. */
  readonly caughtBy: readonly string[];
}

/** Finds a text however its lines are broken, and whether its members are private or not. */
export function patternOf(text: string): RegExp {
  const escaped = text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(
    escaped.replaceAll(/\s+/g, "\\s+").replaceAll("#", "#?"),
    "g",
  );
}

export const BUGS: readonly Bug[] = [
  {
    what: "end of the stack: growing does not ask for room",
    file: "pool/sizer.ts",
    find: "#grow(): boolean {\n    headroom();",
    put: "#grow(): boolean {",
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: trim() does not ask for room",
    file: "pool/block_pool.ts",
    find: "trim(): number {\n    headroom();",
    put: "trim(): number {",
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: the room asked for is too little to compile in",
    file: "pool/headroom.ts",
    find: "const WORDS = 6144;",
    put: "const WORDS = 512;",
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: a lease begins before its handle is made",
    file: "pool/leases.ts",
    find: "const block = hotBlockOf(slot);\n    const watch",
    put: `slots.take();
    slot.state = HOT_HELD;
    const block = hotBlockOf(slot);
    const watch`,
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: a slot is put back before its view is renewed",
    file: "pool/leases.ts",
    find: "if (slot.touched === true && !this.#clean(slot, usedBytes)) {",
    put: `this.#slots.push(slot.index);
    if (slot.touched === true && !this.#clean(slot, usedBytes)) {`,
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: the handle is parted before the lease has ended",
    file: "pool/block.ts",
    find: "const tells = owner.release(slot, usedBytes);",
    put: `this.#slot = ended;
    const tells = owner.release(slot, usedBytes);`,
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: what waits is forgotten",
    file: "pool/block.ts",
    find:
      "if (!(error instanceof RangeError)) throw error;\n      // The stack ends, but",
    put: "return;\n      // The stack ends, but",
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: a slot is listed in a slab that is not open",
    file: "pool/slots.ts",
    find:
      "if (this.#freeIn[slab] === 0) this.#open.add(slab);\n    this.#freeIn[slab]++;",
    put: "if (this.#freeIn[slab]++ === 0) this.#open.add(slab);",
    caughtBy: ["stack_end"],
  },
  {
    what: "end of the stack: an acquire that fails to wait keeps its place",
    file: "pool/channel.ts",
    find: "if (signal !== undefined) this.#watch(signal, waiter);",
    put: `this.#queueOf(waiter).append(waiter);
      this.waiting++;
      if (signal !== undefined) this.#watch(signal, waiter);`,
    caughtBy: ["stack_end", "throwing_runtime"],
  },
  {
    what: "end of the stack: an abort that fails is not tried again",
    file: "pool/channel.ts",
    find: "EMPTY_STACK.then(() => refuseAll(reasonOf(signal)));",
    put: "",
    caughtBy: ["stack_end"],
  },
  {
    what:
      "throwing runtime: a view that cannot be made leaves a lease for ever",
    file: "pool/leases.ts",
    find: "isSafe = false;\n      }",
    put: "throw new Error();\n      }",
    caughtBy: ["permission"],
  },
  {
    what: "throwing runtime: a batch that is cut short keeps what it has",
    file: "pool/dispatcher.ts",
    find: "blocks[Symbol.dispose]();\n      throw error;",
    put: "throw error;",
    caughtBy: ["throwing_runtime"],
  },
  {
    what: "throwing runtime: a buffer counts as out though no view was made",
    file: "pool/leases.ts",
    find: `slot.view = this.region.view(slot.index);
      slot.escaped++;`,
    put: `slot.escaped++;
      slot.view = this.region.view(slot.index);`,
    caughtBy: ["throwing_runtime"],
  },
  {
    what: "handles: what a block leads to makes another of its slot",
    file: "pool/block.ts",
    find: "if (inside !== INSIDE) {",
    put: "if (inside === undefined) {",
    caughtBy: ["misuse"],
  },
  {
    what: "lending: a buffer that came back and left again is vouched for",
    file: "pool/escape.ts",
    find: "if (dead === slot.view) {",
    put: "if (dead !== undefined) {",
    caughtBy: ["once_vouched_escape"],
  },
  {
    what: "double release: the second one is let through",
    file: "pool/block.ts",
    find: `if (slot.state !== HOT_HELD) return owner.refuse(slot, "release");`,
    put: "",
    caughtBy: ["misuse"],
  },
  {
    what: "stale handle: it is not parted from the slot",
    file: "pool/block.ts",
    find: "this.#slot = ended;",
    put: "void ended;",
    caughtBy: ["misuse"],
  },
  {
    what: "foreign blocks: release() takes any pool's",
    file: "pool/leases.ts",
    find: "if (slot.owner !== this) {",
    put: "if (false) {",
    caughtBy: ["acquire"],
  },
  {
    what: "zeroing: released blocks keep their bytes",
    file: "pool/leases.ts",
    find: "if (this.#zero === true) slot.view.fill(0, 0, usedBytes);",
    put: "",
    caughtBy: ["isolation"],
  },
  {
    what: "revocation: views live on after release",
    file: "pool/leases.ts",
    find: "if (this.#revoke === true) {",
    put: "if (Math.random() < 0) {",
    caughtBy: ["revoke"],
  },
  {
    what: "revocation: a view that cannot be ended does not matter",
    file: "pool/leases.ts",
    find: "if (buffer === undefined) return false;",
    put: "if (buffer === undefined) return true;",
    caughtBy: ["untransferable"],
  },
  {
    what: "revocation: shrinking leaves the views of free slots",
    file: "pool/leases.ts",
    find: "if (isDetached(slot) || !this.#region.revoke(slot.view)) {",
    put: "if (isDetached(slot)) {",
    caughtBy: ["crash"],
  },
  {
    what: "quarantine: strict blocks are free at once",
    file: "pool/leases.ts",
    find: "if (slot.touched && this.#quarantine !== undefined) {",
    put: "if (Math.random() < 0) {",
    caughtBy: ["strict"],
  },
  {
    what: "quarantine: pages stay accessible",
    file: "pool/guard.ts",
    find: "if (this.#region.forbid(slot.index)) return true;",
    put: "",
    caughtBy: ["strict"],
  },
  {
    what: "quarantine: it has no bound over all pools",
    file: "pool/guard.ts",
    find: "const MOST_FORBIDDEN = 8192;",
    put: "const MOST_FORBIDDEN = 1e6;",
    caughtBy: ["once_strict_pools"],
  },
  {
    what: "quarantine: its bound is one for each isolate",
    file: "ffi/process_page.ts",
    find: `const page = "reason" in native ? undefined : openPage(native);`,
    put: "const page = undefined as Range | undefined;",
    caughtBy: ["once_strict_pools"],
  },
  {
    what: "quarantine: behind 1 GiB nothing is compared",
    file: "pool/guard.ts",
    find: "start += piece) {",
    put: "start += Infinity) {",
    caughtBy: ["strict"],
  },
  {
    what: "quarantine: it has no bound",
    file: "pool/guard.ts",
    find: "const MOST = 1024;",
    put: "const MOST = 1e6;",
    caughtBy: ["strict"],
  },
  {
    what: "quarantine: nobody looks in when blocks run out",
    file: "pool/leases.ts",
    find: "if (this.#quarantine.freeUp(free)) this.hooks.lost();",
    put: "",
    caughtBy: ["strict"],
  },
  {
    what: "poison: a late write is not looked for",
    file: "pool/guard.ts",
    find: "if (offset >= 0) {",
    put: "if (offset > slot.view.length) {",
    caughtBy: ["strict"],
  },
  {
    what: "poison: it is left in the block",
    file: "pool/guard.ts",
    find: "slot.view.fill(0);",
    put: "",
    caughtBy: ["strict"],
  },
  {
    what: "lending: release() does not wait for the operation",
    file: "pool/leases.ts",
    find: "if (slot.lends !== 0) {\n      slot.state = ENDING;",
    put: "if (false) {\n      slot.state = ENDING;",
    caughtBy: ["lend"],
  },
  {
    what: "lending: what is lent is not counted down",
    file: "pool/leases.ts",
    find: "if (isLast) this.#counters.lentBlocks--;",
    put: "",
    caughtBy: ["lend"],
  },
  {
    what: "lending: a failed socket read vouches for every buffer",
    file: "pool/block.ts",
    find: "if (socket && bytes?.length === 0) taken = bytes;",
    put: "if (socket) taken = slot.view;",
    caughtBy: ["once_vouched_escape"],
  },
  {
    what: "lending: a dropped handle of a lent block is a leak",
    file: "pool/leases.ts",
    find: "slot.lentTo = block;",
    put: "",
    caughtBy: ["leaks"],
  },
  {
    what: "escape mark: a healed block forgets who has its buffer",
    file: "pool/leases.ts",
    find: "slot.escaped++;",
    put: "",
    caughtBy: ["escape"],
  },
  {
    what: "escape mark: release() does not look at it",
    file: "pool/leases.ts",
    find: "slot.escaped !== 0 || (slot.touched",
    put: "(slot.touched",
    caughtBy: ["escape"],
  },
  {
    what: "escape: a buffer still out is not missed",
    file: "pool/leases.ts",
    find: "if (slot.view !== NO_VIEW) return false;",
    put: "",
    caughtBy: ["escape"],
  },
  {
    what: "reattach(): any memory is taken",
    file: "pool/escape.ts",
    find: "if (!region.isWhole(slot.index, buffer)) return undefined;",
    put: "",
    caughtBy: ["escape"],
  },
  {
    what: "abandon: an interrupted read is taken for finished",
    file: "pool/leases.ts",
    find: `let isSafe = how !== "running";`,
    put: "let isSafe = true;",
    caughtBy: ["lend"],
  },
  {
    what: "abandon: the slot of a leak is lent again",
    file: "pool/leases.ts",
    find: "this.lose(leak.slot);",
    put: `leak.slot.touched = false;
    this.release(leak.slot, this.blockSize);`,
    caughtBy: ["leaks"],
  },
  {
    what: "leaks: raw views of a lost block stay alive",
    file: "pool/leases.ts",
    find: "this.#region.revoke(leak.slot.view);",
    put: "",
    caughtBy: ["leaks"],
  },
  {
    what: "waiting: last come, first served",
    file: "pool/channel.ts",
    find: `waiter.before = this.tail;
    if (this.tail === undefined) this.head = waiter;
    else this.tail.after = waiter;
    this.tail = waiter;`,
    put: `waiter.after = this.head;
    if (this.head === undefined) this.tail = waiter;
    else this.head.before = waiter;
    this.head = waiter;`,
    caughtBy: ["waiters"],
  },
  {
    what: "waiting: whoever asks overtakes",
    file: "pool/channel.ts",
    find: "return (reserved ? this.#urgent.head : this.head) !== undefined;",
    put: "return reserved && false;",
    caughtBy: ["waiters"],
  },
  {
    what: "waiting: any number may",
    file: "pool/channel.ts",
    find: "return this.waiting >= this.#limit;",
    put: "return this.waiting < 0;",
    caughtBy: ["waiters"],
  },
  {
    what: "permission: a strict pool needs the page of the process",
    file: "ffi/process_page.ts",
    find: "if (!(error instanceof Deno.errors.NotCapable)) throw error;",
    put: "throw error;",
    caughtBy: ["permission"],
  },
  {
    what: "permission: a pointer is refused in the runtime's own words",
    file: "pool/region.ts",
    find: "throw viewRefused(backend, size, error);",
    put: "throw error;",
    caughtBy: ["permission"],
  },
  {
    what: "end of the stack: one that a block was taken for may be refused",
    file: "pool/dispatcher.ts",
    find: "waiter.taken = true;",
    put: "",
    caughtBy: ["once_taken_then_refused"],
  },
  {
    what: "end of the stack: who was to have a block is refused all the same",
    file: "pool/channel.ts",
    find: "if (waiter.taken) return;",
    put: "",
    caughtBy: ["once_taken_then_refused"],
  },
  {
    what: "hand-off: a release tells nobody who waits",
    file: "pool/dispatcher.ts",
    find: "this.#channel.waiting !== 0 || this.#inHand !== undefined",
    put: "Math.random() < 0",
    caughtBy: ["waiters"],
  },
  {
    what: "reserved share: anybody may take it",
    file: "pool/dispatcher.ts",
    find: "return reserved ? 0 : this.#options.reservedBlocks;",
    put: "return reserved ? 0 : 0;",
    caughtBy: ["reserved"],
  },
  {
    what: "growth: only when nothing is free",
    file: "pool/scaling.ts",
    find: "this.#growAt = committed < maxBlocks ? committed - full : -1;",
    put: "this.#growAt = committed < maxBlocks && full < 0 ? 0 : -1;",
    caughtBy: ["growth", "scaling"],
  },
  {
    what: "growth: a refusal is not counted",
    file: "pool/sizer.ts",
    find: `if (error !== undefined) {
      this.#counters.growFailures++;`,
    put: "if (error !== undefined) {",
    caughtBy: ["limits"],
  },
  {
    what: "growth: nobody asks again for those who wait",
    file: "pool/dispatcher.ts",
    find: "if (this.#retryTimer !== undefined) return;",
    put: "if (true) return;",
    caughtBy: ["limits"],
  },
  {
    what: "construction: a pool that fails leaves its range mapped",
    file: "pool/block_pool.ts",
    find: "region.unmap();",
    put: "",
    caughtBy: ["limits"],
  },
  {
    what: "construction: size classes made before the one that fails stay",
    file: "pool/size_class_pool.ts",
    find: "this[Symbol.dispose]();",
    put: "",
    caughtBy: ["limits"],
  },
  {
    what: "shrinking: pages become inaccessible",
    file: "ffi/posix.ts",
    find: "return failed ? this.#errno() : 0;\n    }\n    // SAFETY: MAP_FIXED",
    put: `this.#c.mprotect(address, BigInt(size), PROT_NONE);
      return failed ? this.#errno() : 0;
    }
    // SAFETY: MAP_FIXED`,
    caughtBy: ["queued_response"],
  },
  {
    what: "shrinking: memory is not given back",
    file: "ffi/posix.ts",
    find:
      "const failed = this.#c.madvise(address, BigInt(size), adviceDrop) !== 0;",
    put: "const failed = size < 0;",
    caughtBy: ["memory"],
  },
  {
    what: "close: it unmaps under blocks that are out",
    file: "pool/closing.ts",
    find:
      "if (!this.#begun || this.#ended || this.#slots.acquired > 0) return;",
    put: "if (!this.#begun || this.#ended) return;",
    caughtBy: ["close"],
  },
  {
    what: "close: it unmaps a region with abandoned blocks",
    file: "pool/closing.ts",
    find: "const isGone = this.#slots.abandoned === 0 &&",
    put: "const isGone = this.#slots.abandoned >= 0 &&",
    caughtBy: ["close", "close_race"],
  },
  {
    what: "close: what is out when the time is over is not revoked",
    file: "pool/closing.ts",
    find: "this.#leases.loseAll();",
    put: "",
    caughtBy: ["close"],
  },
  {
    what: "close: views of free slots live on",
    file: "pool/closing.ts",
    find: "this.#leases.dropViews(0, this.#slots.top);",
    put: "",
    caughtBy: ["kept_views"],
  },
  {
    what: "close: pages stay when the OS will not unmap",
    file: "pool/closing.ts",
    find: "isGone || this.#region.drop(this.#slots.top);",
    put:
      "isGone || this.#slots.abandoned === 0 ||\n      this.#region.drop(this.#slots.top);",
    caughtBy: ["once_unmap_refused"],
  },
  {
    what: "close: an acquire goes on in a pool that a listener has closed",
    file: "pool/dispatcher.ts",
    find: "this.#refuseIfClosed();\n    return may;",
    put: "return may;",
    caughtBy: ["once_close_in_acquire"],
  },
  {
    what: "listeners: an event is told inside itself",
    file: "pool/events.ts",
    find: "if (this.#telling.has(type)) return;",
    put: "",
    caughtBy: ["once_listener_loop"],
  },
  {
    what: "lending: the user's code runs when the lend no longer counts",
    file: "pool/leases.ts",
    find: "const isLast = --slot.lends === 0;",
    put: `const isLast = --slot.lends === 0;
    if (how === "fulfilled") broughtBy(this.region, this.records, slot, result);`,
    caughtBy: ["once_hostile_result"],
  },
  {
    what: "lending: a wrapped interruption is taken for an end",
    file: "pool/block.ts",
    find: "found.add(each.cause);",
    put: "continue;",
    caughtBy: ["once_hostile_result"],
  },
  {
    what: "reattach(): on the heap another block's buffer is taken",
    file: "pool/escape.ts",
    find: "return isAnothers ? undefined : buffer as ArrayBuffer;",
    put: "return isAnothers || true ? buffer as ArrayBuffer : undefined;",
    caughtBy: ["heap"],
  },
  {
    what: "reattach(): a part of the memory is enough",
    file: "pool/region.ts",
    find: "buffer.byteLength === this.#size;",
    put: "buffer.byteLength <= this.#size;",
    caughtBy: ["heap"],
  },
  {
    what:
      "reattach(): the healed buffer stays alive beside the one that returns",
    file: "pool/escape.ts",
    find: "region.revoke(slot.view) && isHealed && slot.escaped > 0",
    put: "isHealed && slot.escaped > 0",
    caughtBy: ["escape"],
  },
  {
    what: "quarantine: what the OS refused to open is not tried again",
    file: "pool/dispatcher.ts",
    find: "if (!this.#sizer.canGrow && this.#slots.quarantined === 0) return;",
    put: "if (!this.#sizer.canGrow) return;",
    caughtBy: ["once_quarantine_stuck"],
  },
  {
    what: "poison: one byte in four is looked at",
    file: "pool/guard.ts",
    find: "for (let at = start + word * 4; at < start + size; at++) {",
    put: "for (let at = start + word * 4; at < start + size; at += 4) {",
    caughtBy: ["strict"],
  },
  {
    what: "leaks: a place is reported each time",
    file: "pool/leaks.ts",
    find:
      "const isNew = this.#sites.size < MAX_SITES && !this.#sites.has(key);",
    put: "const isNew = true;",
    caughtBy: ["leaks"],
  },
  {
    what: "leaks: a lease that has ended is still watched",
    file: "pool/leaks.ts",
    find: `slot.watch = undefined;
    if (watch !== this.#newest?.watch) this.#registry!.unregister(watch);`,
    put: "",
    caughtBy: ["leaks"],
  },
  {
    what: "leaks: the newest lease is kept alive for ever",
    file: "pool/leaks.ts",
    find: "queueMicrotask(() => this.#ask());",
    put: "{}",
    caughtBy: ["leaks"],
  },
  {
    what: "overdue: a lease is reported again and again",
    file: "pool/census.ts",
    find: "slot.overdue = true;",
    put: "",
    caughtBy: ["overdue"],
  },
  {
    what: "join: whoever is not answered makes a pool",
    file: "shared/join.ts",
    find: "if (!entry.isDisputed) this.#found =",
    put: "this.#found =",
    caughtBy: ["shared_join"],
  },
  {
    what: "join: a pool that is closing keeps its name",
    file: "shared/join.ts",
    find: "if (pool.closed) return leave();",
    put: "if (pool.closed) return;",
    caughtBy: ["shared_join"],
  },
  {
    what: "join: who has left is still on the board",
    file: "shared/join.ts",
    find: `pool.addEventListener("close", leave);`,
    put: "",
    caughtBy: ["shared_join"],
  },
  {
    what: "board: the dead count",
    file: "shared/board.ts",
    find: "return this.#threads?.isAlive(thread) ?? true;",
    put: "return true;",
    caughtBy: ["shared_join"],
  },
  {
    what: "board: memory of others is read for the mark",
    file: "ffi/posix.ts",
    find: "if (this.#c.access(base, F_OK) !== 0) return undefined;",
    put: "",
    caughtBy: ["backend"],
  },
  {
    what: "line: a channel that hears nothing stays so",
    file: "shared/line.ts",
    find: `      this.#open().close();
      this.#channel.postMessage(message);`,
    put: "",
    caughtBy: ["shared_join"],
  },
  {
    what: "join: an isolate that ends leaves its entry behind",
    file: "shared/join.ts",
    find: `addEventListener("unload", leave);`,
    put: "",
    caughtBy: ["shared_join"],
  },
  {
    what: "join: whoever was refused still takes a seat",
    file: "shared/join.ts",
    find: "if (handle !== undefined && !this.#isOver) this.#hear(handle);",
    put: "if (handle !== undefined) this.#hear(handle);",
    caughtBy: ["shared_join"],
  },
  {
    what: "join: a member answers every question anew",
    file: "shared/join.ts",
    find: "if (now - answered < ANSWER_MS) return;",
    put: "",
    caughtBy: ["shared_join"],
  },
  {
    what: "board: an isolate that died without a word still counts",
    file: "shared/board.ts",
    find: "board.clear();",
    put: "",
    caughtBy: ["shared_join"],
  },
  ...SHARED_BUGS,
];
