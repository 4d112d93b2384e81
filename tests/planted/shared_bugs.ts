// Guards of the shared pool's protocol, file by file, each switched off by one change of its source.

import type { Bug } from "./bugs.ts";

export const SHARED_BUGS: readonly Bug[] = [
  {
    what: "cache: an owner looks at the slot before it looks at the lock",
    file: "shared/cache.ts",
    find: `    if (own[CACHE_LOCK] !== 0) {
      own[CACHE_BUSY] = 0;
      return false;
    }
    // After the lock was read: a theft that ended before that has changed the word.
    const word = owner[slot]!;
    if ((word & FREE_MASK)`,
    put: `    const word = owner[slot]!;
    if (own[CACHE_LOCK] !== 0 || (word & FREE_MASK)`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what:
      "cache: a thief has no fence between its lock and its look at the owner",
    file: "shared/cache.ts",
    find:
      `      // From here on each owner finds its lock, or is seen to be busy; and if it puts anything into its
      // cache later, it finds acquires that wait since before.
      if (fence() !== 0) return mine;
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: a thief does not wait for what the owner has begun",
    file: "shared/cache.ts",
    find: "locked.filter((victim) => this.#isIdle(victim))",
    put: "locked",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "cache: what a thief has taken is taken by its mask alone",
    file: "shared/cache.ts",
    find: "if ((word & FREE_MASK) !== this.#cached) {",
    put: "if (false) {",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "cache: what is locked by a dead thief stays locked",
    file: "shared/cache.ts",
    find: "    this.#unlock(dead);",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: the room of the dead is never given back",
    file: "shared/cache.ts",
    find: "[CACHE, CACHE_BUSY, CACHE_QUOTA]",
    put: "[CACHE, CACHE_BUSY]",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: what the dead had cached is not looked for",
    file: "shared/reaper.ts",
    find: "if (slots.cache.openOne(slot, dead)) return false;",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: what a cut has left out of the mask is not looked for",
    file: "shared/reaper.ts",
    find: "else if (slots.cache.isStray(slot)) {",
    put: "else if (false) {",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: what others have room for is not counted",
    file: "shared/cache.ts",
    find: "Math.min(wanted, most - others)",
    put: "Math.min(wanted, most)",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: room is kept when the pool shrinks",
    file: "shared/shared_supply.ts",
    find: "if (blocks > 0) this.#slots.cache.voidRoom();",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: it fills again at once when others were short of blocks",
    file: "shared/cache.ts",
    find: "    this.giveBack();\n    this.#patience = PATIENCE;",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: room of others that is not granted yet hides what they cache",
    file: "shared/cache.ts",
    find: "total(WORKER.CACHE_QUOTA) === this.#quota)",
    put: "total(WORKER.CACHE_QUOTA) <= this.#quota + 1)",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: it takes as many as there are",
    file: "shared/cache.ts",
    find: "bitsOf(mask) >= this.#quota && !this.#mayAsk();",
    put: "false;",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: a lower slot does not replace what is in it",
    file: "shared/cache.ts",
    find: "if (isFull && slot > this.peek()) return false;",
    put: "if (isFull) return false;",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: what is in it is taken before lower slots",
    file: "shared/shared_slot_acquirer.ts",
    find: "else if (!this.#hints.isLowest(slot)) slot = this.#slots.find();",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: a high slot is kept while a lower one is free",
    file: "shared/cache.ts",
    find: "return this.#hints.isLowest(slot);",
    put: "return true;",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: a pool grows, refuses and waits without a look into caches",
    file: "shared/shared_slot_acquirer.ts",
    find: "const theft = this.#cache.steal();",
    put: `const theft = "none" as string;`,
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: memory is given back without a look into caches",
    file: "shared/shared_supply.ts",
    find: `this.#slots.cache.steal();
    while`,
    put: "while",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: a release into it does not look whether acquires wait",
    file: "shared/shared_slots.ts",
    find: `return this.#isHeard();
    } catch {
      // No room on the stack.`,
    put: `return false;
    } catch {`,
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: who leaves takes what is in it along",
    file: "shared/lifecycle.ts",
    find: "    slots.cache.close();\n",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: housekeeping leaves it as it is",
    file: "shared/lifecycle.ts",
    find: "    this.#parts.slots.cache.giveBack();\n",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: there are some beside a reserve",
    file: "shared/cache.ts",
    find: "return reservedBlocks === 0 && knownThreads()",
    put: "return knownThreads()",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: slots in others' caches count as free for all",
    file: "shared/control.ts",
    find: "return (owner & (KIND_MASK | WORKER_MASK)) === FREE;",
    put: "return (owner & KIND_MASK) === FREE;",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "owner words: a slot that is about to lose its memory counts as held",
    file: "shared/control.ts",
    find: "kindOf(owner) !== CLAIMED;",
    put: "true;",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "clock: who attaches begins at 0",
    file: "shared/clock.ts",
    find: "this.#ticked = Atomics.load(words, TIME);",
    put: "this.#ticked = 0;",
    caughtBy: ["shared/clock"],
  },
  {
    what: "clock: who is behind does not catch up",
    file: "shared/clock.ts",
    find: "this.#ahead += between(mine, told);",
    put: "",
    caughtBy: ["shared/clock"],
  },
  {
    what: "clock: what a timer proves is not counted",
    file: "shared/clock.ts",
    find: "if (late > 0) this.#ahead += late;",
    put: "",
    caughtBy: ["shared/clock"],
  },
  {
    what: "clock: it is the wall clock",
    file: "shared/clock.ts",
    find: "const mine = performance.now() + this.#ahead | 0;",
    put: "const mine = Date.now() % 2 ** 40 + this.#ahead | 0;",
    caughtBy: ["shared/clock"],
  },
  {
    what: "hints: one is dropped without a second look at its slot",
    file: "shared/hints.ts",
    find: "const isFree = isOpen(Atomics.load(this.#owner, slot));",
    put: "const isFree = false;",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "hints: one is dropped after the look at its slot",
    file: "shared/hints.ts",
    find: `Atomics.and(this.#bits, slot >>> 5, ~(1 << (slot & 31)));
    const isFree = isOpen(Atomics.load(this.#owner, slot));`,
    put: `const isFree = isOpen(Atomics.load(this.#owner, slot));
    Atomics.and(this.#bits, slot >>> 5, ~(1 << (slot & 31)));`,
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "counts: what was taken is added up before what was freed",
    file: "shared/tally.ts",
    find: `used -= words[this.#control.at(worker, FREES)]!;
    }
    this.#fence();
    for (let worker = 1; worker <= top; worker++) {
      used += words[this.#control.at(worker, TAKES)]!;`,
    put: `used += words[this.#control.at(worker, TAKES)];
    }
    this.#fence();
    for (let worker = 1; worker <= top; worker++) {
      used -= words[this.#control.at(worker, FREES)];`,
    caughtBy: ["shared/counts", "shared/interleavings"],
  },
  {
    what:
      "counts: those of the dead are compared again when its slots have gone",
    file: "shared/tally.ts",
    find: "Atomics.store(words, at + WORKER.SETTLED, 1);",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "counts: what the dead was moving is taken for what it was taking",
    file: "shared/tally.ts",
    find: "words[at + WORKER.MOVING] !== 0 ? WORKER.MOVED : TAKES;",
    put: "TAKES;",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "counts: those of the id's earlier worker count for the next",
    file: "shared/tally.ts",
    find: "own[WORKER.MOVED] = own[FREES]! - own[TAKES]!;",
    put: "",
    caughtBy: ["shared/counts"],
  },
  {
    what: "slots: one that another worker was first to take is taken",
    file: "shared/shared_slots.ts",
    find:
      "if (Atomics.compareExchange(owner, slot, word, next) !== word) return false;",
    put: "Atomics.compareExchange(owner, slot, word, next);",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "slots: the hint is looked at before the slot is free",
    file: "shared/shared_slots.ts",
    find: `if (Atomics.compareExchange(owner, slot, word, next) !== word) {
      throw this.#stolen(slot);`,
    put: `if (!hints.stands(slot)) hints.set(slot);
    hints.stands = () => true;
    if (Atomics.compareExchange(owner, slot, word, next) !== word) {
      throw this.#stolen(slot);`,
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "slots: no waiter is told of one that is free again",
    file: "shared/shared_slots.ts",
    find: "return words[WAITERS] !== 0 ||",
    put: "return false && words[WAITERS] !== 0 ||",
    caughtBy: ["shared/slots"],
  },
  {
    what: "slots: bytes are handed out without a mark",
    file: "shared/shared_slots.ts",
    find: "this.#owner[slot] = word & ALL_BUT_KIND | HOT_USED;",
    put: "",
    caughtBy: ["shared/slots", "shared/unmap"],
  },
  {
    what: "slots: a change of hands leaves no mark",
    file: "shared/shared_slots.ts",
    find: "own[MOVING] = 1;",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "slots: takes are not said before they are counted",
    file: "shared/shared_slots.ts",
    find: "Atomics.add(this.#own, TAKES, count);",
    put: "this.#own[TAKES]! += count;",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "tickets: the kind of the word that is swapped is not looked at",
    file: "shared/shared_slots.ts",
    find: `return kindOf(word) === TRANSIT &&
      this.#control.serial[slot] === serial &&
      this.#move`,
    put: `return this.isSent(slot, serial) &&
      this.#control.serial[slot] === serial &&
      this.#move`,
    caughtBy: ["shared/slots"],
  },
  {
    what: "tickets: the number is not looked at again after the swap",
    file: "shared/shared_slots.ts",
    find:
      "(this.#control.serial[slot] === serial || this.#handBack(slot, word));",
    put: "true;",
    caughtBy: ["shared/slots"],
  },
  {
    what: "tickets: one is recalled in another one's time",
    file: "shared/shared_slots.ts",
    find:
      "(this.#control.deadline[slot] === deadline || this.#handBack(slot, word));",
    put: "true;",
    caughtBy: ["shared/slots"],
  },
  {
    what: "tickets: the time of the last one goes on for the next",
    file: "shared/shared_slots.ts",
    find: "deadline[slot] = 0;",
    put: "",
    caughtBy: ["shared/clock"],
  },
  {
    what: "tickets: one is used up although its block cannot be looked at",
    file: "shared/shared_leases.ts",
    find:
      `// Its bytes have to be zeroed, so a view has to be had: without one the ticket stays good.
    this.#ready(index);`,
    put: "",
    caughtBy: ["process/shared_permission"],
  },
  {
    what: "tickets: a block that was adopted and not used is not zeroed",
    file: "shared/shared_leases.ts",
    find: `slot.token = undefined;
    slot.touched = true;`,
    put: "slot.token = undefined;",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "tickets: a batch that fails keeps what it has",
    file: "shared/tickets.ts",
    find: "for (const block of blocks) this.#leases.unadopt(block);",
    put: "",
    caughtBy: ["shared/tickets", "process/shared_permission"],
  },
  {
    what: "attachments: an id is taken before others look so far",
    file: "shared/worker_registry.ts",
    find: `raise(words, HEADER.TOP_WORKER, worker);
      if (Atomics.compareExchange(words, at, NO_THREAD, mine) !== NO_THREAD) {
        continue;
      }`,
    put:
      `if (Atomics.compareExchange(words, at, NO_THREAD, mine) !== NO_THREAD) {
        continue;
      }
      raise(words, HEADER.TOP_WORKER, worker);`,
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "attachments: who reclaims does not look again at whom",
    file: "shared/worker_registry.ts",
    find: `if (this.#mayReclaim(worker)) return true;
    Atomics.store(this.#words, at, 0);`,
    put: `if (at > 0) return true;
    Atomics.store(this.#words, at, 0);`,
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "attachments: the number of a thread is not read again",
    file: "shared/worker_registry.ts",
    find: `!this.#threads.isAlive(thread) &&
      // Since its number was read the worker may have left, and another thread taken the id.
      this.#threadOf(worker) === thread;`,
    put: "!this.#threads.isAlive(thread);",
    caughtBy: ["shared/attach"],
  },
  {
    what:
      "attachments: another thread of the same number keeps a dead one's attachment",
    file: "shared/worker_registry.ts",
    find: "return born !== 0 && now !== 0 && now !== born &&",
    put: "return false &&",
    caughtBy: ["shared/attach"],
  },
  {
    what: "attachments: a thread without a number looks dead",
    file: "shared/worker_registry.ts",
    find: `thread !== NO_THREAD &&
      thread !== UNKNOWN_THREAD &&`,
    put: "thread !== NO_THREAD &&",
    caughtBy: ["shared/attach"],
  },
  {
    what:
      "attachments: where nothing proves a death an id is given again at once",
    file: "shared/worker_registry.ts",
    find: "const first = mine === UNKNOWN_THREAD ? this.#top + 1 : 1;",
    put: "const first = 1;",
    caughtBy: ["shared/attach"],
  },
  {
    what: "attachments: what a dead worker was reclaiming stays so",
    file: "shared/worker_registry.ts",
    find: "Atomics.compareExchange(words, at, worker, 0);",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "attachments: others may reclaim before the id is free",
    file: "shared/worker_registry.ts",
    find: `this.exit(worker);
    // Last: until here no other worker reclaims the id, which may have its next owner already.
    Atomics.store(this.#words, this.#control.at(worker, WORKER.RECLAIMER), 0);`,
    put:
      `Atomics.store(this.#words, this.#control.at(worker, WORKER.RECLAIMER), 0);
    this.exit(worker);`,
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "attachments: attach() takes a copy of the control block",
    file: "shared/handle.ts",
    find:
      "if (words[HEADER.HOME] === low && words[HEADER.HOME_HIGH] === high) return;",
    put: "if (low !== high || words.length > 0) return;",
    caughtBy: ["shared/attach"],
  },
  {
    what: "attachments: attach does not look whether the pool is open still",
    file: "shared/attach.ts",
    find: "if (control.state !== OPEN) throw closed();\n    const attachment",
    put: "const attachment",
    caughtBy: ["shared/close"],
  },
  {
    what: "end: the attached are not looked at again",
    file: "shared/shutdown.ts",
    find: "if (this.#isDue) this.#end();",
    put: "if (words.length > 0) this.#end();",
    caughtBy: ["shared/close"],
  },
  {
    what: "end: a dead worker keeps the right to end the pool",
    file: "shared/reaper.ts",
    find: "shutdown.forget(dead);",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "end: who gives the right to it up does not look again",
    file: "shared/shutdown.ts",
    find: "Atomics.store(words, ENDER, 0);",
    put: "Atomics.store(words, ENDER, 0);\n      return;",
    caughtBy: ["shared/close"],
  },
  {
    what: "end: a range is unmapped again",
    file: "shared/shutdown.ts",
    find: "if (Atomics.load(words, MAPPING) === MAPPED) {",
    put: "if (true) {",
    caughtBy: ["shared/unmap"],
  },
  {
    what: "end: pages that may still be read are dropped",
    file: "shared/shutdown.ts",
    find: "if (had && !kept.has(slab)) continue;",
    put: "if (had) continue;",
    caughtBy: ["shared/unmap"],
  },
  {
    what: "end: it unmaps what may still be read",
    file: "shared/shutdown.ts",
    find: "this.#region.unmapBut(kept);",
    put: "this.#region.unmapBut([]);",
    caughtBy: ["shared/unmap"],
  },
  {
    what: "end: it unmaps the place that a slot began with",
    file: "shared/shutdown.ts",
    find: "keep(slot);",
    put: "",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "end: it unmaps a place that a slot had for a while",
    file: "shared/shutdown.ts",
    find: "if (!living.has(at)) keep(at);",
    put: "",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "end: an isolate rests by its count of blocks",
    file: "shared/lifecycle.ts",
    find: "if (slots.tally.countHeld(worker) > 0) return;",
    put: "if (slots.tally.held > 0) return;",
    caughtBy: ["shared/close"],
  },
  {
    what: "end: the last one to leave does not look for the dead",
    file: "shared/lifecycle.ts",
    find: "this.#reaper.reclaimDead();\n      leases.giveUpAll();",
    put: "leases.giveUpAll();",
    caughtBy: ["shared/unmap"],
  },
  {
    what: "housekeeping: what a dead worker used is lent again",
    file: "shared/reaper.ts",
    find: "const mayBeRead = kindOf(word) === USED;",
    put: "const mayBeRead = word === USED;",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "housekeeping: what comes back from a ticket is not zeroed",
    file: "shared/reaper.ts",
    find: "(kindOf(word) !== SOILED || leases.wash(slot));",
    put: "true;",
    caughtBy: ["shared/death_at_every_access", "shared/tickets"],
  },
  {
    what: "housekeeping: a block that cannot be zeroed is lent again",
    file: "shared/shared_leases.ts",
    find: "if (!this.canWash(index)) return false;",
    put: "if (!this.canWash(index)) return true;",
    caughtBy: ["process/shared_permission"],
  },
  {
    what: "housekeeping: a ticket comes back before its time",
    file: "shared/reaper.ts",
    find: "if (late < 0) return false;",
    put: "",
    caughtBy: ["shared/clock"],
  },
  {
    what: "housekeeping: no wait for the worker that could zero a block",
    file: "shared/reaper.ts",
    find: "if (late < ticketTimeoutMs && !leases.canWash(slot)) return false;",
    put: "",
    caughtBy: ["process/shared_permission"],
  },
  {
    what: "housekeeping: a slot without a lease stays held",
    file: "shared/reaper.ts",
    find: "!leases.isLeased(slot)",
    put: "false",
    caughtBy: ["shared/slots"],
  },
  {
    what: "housekeeping: a free slot without a hint stays so",
    file: "shared/reaper.ts",
    find: "if (isOpen(word)) found = slots.hints.confirm(slot) || found;",
    put: "if (isOpen(word)) found = found || false;",
    caughtBy: ["shared/slots"],
  },
  {
    what: "housekeeping: slots that a dead worker was giving back stay claimed",
    file: "shared/reaper.ts",
    find: "if (kindOf(word) === CLAIMED) slots.drop(slot);",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "housekeeping: a dead worker keeps the right to change the size",
    file: "shared/reaper.ts",
    find: "sizer.repair(dead);",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "housekeeping: a dead worker still waits",
    file: "shared/reaper.ts",
    find: "notifier.forget(dead);",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "supply: slots that were claimed in vain are not rung for",
    file: "shared/shared_supply.ts",
    find: "if (end > first) this.#notifier.notify();",
    put: "",
    caughtBy: ["shared/slots"],
  },
  {
    what: "sizer: blocks that a dead resizer left are not counted anew",
    file: "shared/shared_sizer.ts",
    find:
      "this.#supply.recount();\n    Atomics.compareExchange(this.#words, HEADER.RESIZER, dead, 0);",
    put: "Atomics.compareExchange(this.#words, HEADER.RESIZER, dead, 0);",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "sizer: a size that others have changed is not seen",
    file: "shared/shared_sizer.ts",
    find: "this.#words[COMMITTED] === this.#seen;",
    put: "this.#seen > -2;",
    caughtBy: ["shared/counts"],
  },
  {
    what: "taking: the state is not looked at after the swap",
    file: "shared/shared_slot_acquirer.ts",
    find: "if (words[STATE] !== HOT_OPEN) return this.#putBackLate(block);",
    put: "",
    caughtBy: ["shared/close"],
  },
  {
    what: "taking: several are taken from a pool that has just been closed",
    file: "shared/shared_slot_acquirer.ts",
    find:
      "if (this.#words[STATE] !== HOT_OPEN) return this.#putBackLate(block);",
    put: "",
    caughtBy: ["shared/close"],
  },
  {
    what: "taking: the reserve is open to every acquire",
    file: "shared/shared_slot_acquirer.ts",
    find: "return tally.atMost() <= this.#words[COMMITTED]! - kept;",
    put: "return tally.atMost() <= this.#words[COMMITTED];",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "taking: who is refused for nothing is refused all the same",
    file: "shared/shared_slot_acquirer.ts",
    find: 'if (kept > 0 && tally.countFree() >= needed) return "busy";',
    put: "",
    caughtBy: ["shared/counts"],
  },
  {
    what: "taking: what can never be met does not follow the capacity",
    file: "shared/shared_slot_acquirer.ts",
    find: "return count > this.#slots.tally.capacity - this.#kept(reserved);",
    put: "return count > 2 ** 31 - this.#kept(reserved);",
    caughtBy: ["shared/counts"],
  },
  {
    what: "taking: a count of blocks in use is believed",
    file: "shared/shared_slot_acquirer.ts",
    find: "needed > tally.capacity - tally.countUsed();",
    put: "true;",
    caughtBy: ["shared/counts"],
  },
  {
    what: "taking: a batch that is not enough is kept",
    file: "shared/shared_slot_acquirer.ts",
    find: "if (!isDone) this.putBack(blocks);",
    put: "",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "waiting: others are not rung for",
    file: "shared/shared_slot_acquirer.ts",
    find:
      "this.#cache.flush();\n    this.#notifier.notify();\n  }\n\n  report()",
    put: "this.#cache.flush();\n  }\n\n  report()",
    caughtBy: ["shared/slots"],
  },
  {
    what: "sizer: what was busy at a look is idle from then on",
    file: "shared/shared_sizer.ts",
    find: "if (wasBusy || words[BUSY] !== 0) {",
    put: "if (words[BUSY] !== 0) {",
    caughtBy: ["random/shared_model"],
  },
  {
    what: "sizer: a whole step goes back without a turn of the event loop",
    file: "shared/shared_sizer.ts",
    find: "const given = this.#giveBack(blocks, SHRINK_PIECE);",
    put: "const given = this.#giveBack(blocks, Infinity);",
    caughtBy: ["random/shared_model"],
  },
  {
    what: "leases: a lease begins before the swap has said yes",
    file: "shared/shared_leases.ts",
    find:
      "if (!slots.take(index)) return undefined;\n    slot.state = HOT_HELD;",
    put:
      "slot.state = HOT_HELD;\n    if (!slots.take(index)) return undefined;",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "notifier: a turn does not end by itself",
    file: "shared/notifier.ts",
    find: "return between(end, this.#clock.now()) >= 0;",
    put: "return between(end, end) > 0;",
    caughtBy: ["shared/notifier"],
  },
  {
    what: "notifier: who had the last turn has the next one, too",
    file: "shared/notifier.ts",
    find: "if (turn === this.#worker) return this.dropTurn();",
    put: "",
    caughtBy: ["shared/notifier"],
  },
  {
    what: "notifier: a dead worker keeps its turn",
    file: "shared/notifier.ts",
    find: ");\n    this.#endTurn(worker);",
    put: ");",
    caughtBy: ["shared/notifier"],
  },
  {
    what: "notifier: those with high ids are not rung for",
    file: "shared/notifier.ts",
    find: "for (let at = WAITERS; at <= last; at++)",
    put: "for (let at = WAITERS; at <= WAITERS; at++)",
    caughtBy: ["shared/notifier"],
  },
  {
    what: "notifier: a release does not see that those with high ids wait",
    file: "shared/notifier.ts",
    find: "for (let at = last; at >= WAITERS; at--)",
    put: "for (let at = WAITERS; at >= WAITERS; at--)",
    caughtBy: ["shared/slots"],
  },
  {
    what: "attachments: one that is given back looks attached for a moment",
    file: "shared/worker_registry.ts",
    find: "for (const word of [WORKER.WAITING, WORKER.BORN, WORKER.THREAD]) {",
    put:
      "this.#become(worker, ATTACHED);\n    for (const word of [WORKER.WAITING, WORKER.BORN, WORKER.THREAD]) {",
    caughtBy: ["shared/close"],
  },
  {
    what:
      "attachments: a refused attach does not look whether it was the last one",
    file: "shared/attach.ts",
    find:
      "new SharedShutdown(control, region, ledger, registry, worker).tryEnd();",
    put: "",
    caughtBy: ["shared/close"],
  },
  {
    what: "options: a shared pool takes any safety",
    file: "shared/options.ts",
    find: "filled.safety,",
    put: '"revoke",',
    caughtBy: ["shared/shared_block_pool"],
  },
  {
    what: "options: a ticket's time is not checked",
    file: "shared/options.ts",
    find: `ticketTimeoutMs: integer(
      "ticketTimeoutMs",
      ticketTimeoutMs,
      1,
      MAX_DELAY_MS,
    ),`,
    put: "ticketTimeoutMs,",
    caughtBy: ["shared/shared_block_pool"],
  },
  {
    what: "stats: blocks under way are not told of as acquired",
    file: "shared/shared_stats.ts",
    find: "const acquired = held + transit;",
    put: "const acquired = held;",
    caughtBy: ["shared/tickets"],
  },
  {
    what: "stats: memory that was given back is told of as mapped",
    file: "shared/shared_stats.ts",
    find: "if (left >= 0) return left * LEFT_UNIT;",
    put: "if (left < 0) return left * LEFT_UNIT;",
    caughtBy: ["shared/shared_block_pool"],
  },
  {
    what:
      "taking: what was given back before it was cut short is given back again",
    file: "shared/shared_slot_acquirer.ts",
    find: "this.#undo(blocks);",
    put: "for (const block of blocks) this.#leases.undo(block);",
    caughtBy: ["shared/throwing_runtime"],
  },
  {
    what: "handles: what looks alike as text has one check sum",
    file: "shared/handle.ts",
    find: 'typeof value === "object" ? value : `${typeof value} ${value}`,',
    put: 'typeof value === "bigint" ? `${value}` : value,',
    caughtBy: ["shared/shared_block_pool"],
  },
  {
    what: "parts: a block is lent without a mark",
    file: "shared/assembly.ts",
    find: "if (change > 0) slots.expose(slot);",
    put: "",
    caughtBy: ["shared/slots"],
  },
  {
    what: "parts: others do not see that a block is lent",
    file: "shared/assembly.ts",
    find: "Atomics.add(control.lends, slot, change);",
    put: "",
    caughtBy: ["shared/workers"],
  },
  {
    what: "pool: it releases blocks of another attachment",
    file: "shared/shared_block_pool.ts",
    find: "this.#parts.leases.checkOwn(block);",
    put: "",
    caughtBy: ["shared/shared_block_pool"],
  },
  {
    what: "pool: one can be made of parts of one's own",
    file: "shared/shared_block_pool.ts",
    find: "if (inside !== INSIDE) {",
    put: "if (inside === undefined) {",
    caughtBy: ["shared/shared_block_pool"],
  },
  {
    what: "module: what blocks are built of is exported",
    file: "shared/mod.ts",
    find: 'export { SharedBlockPool } from "./shared_block_pool.ts";',
    put:
      'export { SharedBlockPool } from "./shared_block_pool.ts"; export { slotOf } from "../pool/block.ts";',
    caughtBy: ["shared/shared_block_pool"],
  },
  {
    what: "ends: a member that has ended takes the memory from the others",
    file: "pool/ledger_list.ts",
    find: "const isLast = isOwn || countDown(place);",
    put: "const isLast = isOwn || countDown(place) || true;",
    caughtBy: ["process/shared_isolate_end"],
  },
  {
    what: "ends: a handle is good although its pool has gone",
    file: "shared/attach.ts",
    find: "if (ledger === undefined) throw closed();",
    put: "if (ledger === undefined) return attach(handle, made);",
    caughtBy: ["process/shared_isolate_end"],
  },
  {
    what: "ends: what is given out is not written down",
    file: "shared/shared_slots.ts",
    find: `this.#used[this.#place[slot]! || slot] = 1;
    this.#owner[slot] =`,
    put: "this.#owner[slot] =",
    caughtBy: ["process/shared_isolate_end"],
  },
  {
    what: "ends: the attachment of a dropped pool stays taken",
    file: "shared/attach.ts",
    find: "const isOurs = registry.markUnreachable(worker, turn);",
    put: "const isOurs = true;",
    caughtBy: ["process/shared_isolate_end"],
  },
  {
    what: "leaks: a handle whose block was sent is one",
    file: "pool/block.ts",
    find: `slot.token = this.#token;
    this.#token = undefined;
    this.#slot = after;`,
    put: "this.#slot = after;",
    caughtBy: ["shared/leaks"],
  },
  {
    what: "clock: the end of a ticket is looked at after the time",
    file: "shared/reaper.ts",
    find: `const end = Atomics.load(deadline, slot);
    // Read after \`end\`: with a timeout near 2^31 ms the 32-bit difference to an earlier time would
    // wrap, and the ticket look out of time.
    const now = clock.now();`,
    put: `const now = clock.now();
    const end = Atomics.load(deadline, slot);`,
    caughtBy: ["shared/clock"],
  },
  {
    what:
      "views: those of blocks that others hold are kept whatever they weigh",
    file: "shared/lifecycle.ts",
    find: "this.#parts.leases.shedViews();",
    put: "",
    caughtBy: ["process/garbage_collection"],
  },
  {
    what: "ends: what has gone in order is given back once more",
    file: "shared/shutdown.ts",
    find: "this.#ledger.forget();",
    put: "",
    caughtBy: ["process/shared_isolate_end"],
  },
  {
    what: "healing: a slot goes on where it was given up",
    file: "shared/healing.ts",
    find: "place[slot] = fresh;",
    put: "place[slot] = place[slot]!;",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: what may be kept for others has no bound",
    file: "shared/healing.ts",
    find: "const isOver = isKept && kept > this.#mostKept;",
    put: "const isOver = kept > Infinity;",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: what costs no memory uses the bound up",
    file: "shared/healing.ts",
    find: "words[HEADER.KEPT]! + (isKept ? 1 : 0);",
    put: "words[HEADER.KEPT]! + 1;",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: pages that may be read are dropped",
    file: "shared/healing.ts",
    find:
      "const unread = isKept ? words[HEADER.UNREAD]! : this.#dropPages(slot);",
    put: "const unread = this.#dropPages(slot);",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: pages that may not be read any more stay",
    file: "shared/healing.ts",
    find: "return region.dropSlot(slot) === 0 ? before : before + 1;",
    put: "return before;",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: a page goes although one of its slots may be read",
    file: "shared/healing.ts",
    find: "if (other !== place && used[other] !== GONE) return before + 1;",
    put: "if (other !== place && used[other] === 0) return before + 1;",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: what the OS has refused is forgotten",
    file: "shared/healing.ts",
    find: "if (!isDone) this.ask();",
    put: "",
    caughtBy: ["shared/abandoned"],
  },
  {
    what:
      "healing: a pool of which an isolate has all its views gets other places",
    file: "shared/healing.ts",
    find: "isOver || isSealed ? NO_PLACE",
    put: "isOver ? NO_PLACE",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: what a death has cut short is not finished",
    file: "shared/shared_sizer.ts",
    find: "if (this.#healing.finish()) this.#supply.recount();",
    put: "",
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "healing: a lock that is taken is not asked again",
    file: "shared/shared_sizer.ts",
    find: `this.#healing.ask();
        if (!this.#begin())`,
    put: "if (!this.#begin())",
    caughtBy: ["shared/interleavings"],
  },
  {
    what: "healing: a range that another isolate has mapped is not known here",
    file: "shared/shared_region.ts",
    find: "if (place >= this.slabs * this.slabSlots) this.catchUp();",
    put: "",
    caughtBy: ["shared/abandoned"],
  },
  {
    what:
      "healing: a page is dropped where an isolate believes its range to be",
    file: "shared/healing.ts",
    find: "region.catchUp();",
    put: "",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: a view of a place given up is taken for one of the slot",
    file: "shared/shared_leases.ts",
    find: "return this.#viewed[index] === this.#place[index]",
    put: "return index >= 0",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: an abandoned block's handle leads to the slot's next lease",
    file: "shared/shared_leases.ts",
    find: "this.records[slot.index] = fresh;",
    put: "",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: an operation that ends late is counted for the next lease",
    file: "pool/leases.ts",
    find: `if (slot.state === LEASE_ABANDONED) return;
    this.hooks.lending?.(slot.index, -1);`,
    put: `this.hooks.lending?.(slot.index, -1);
    if (slot.state === LEASE_ABANDONED) return;`,
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "healing: the memory of a slot is given back where it was before",
    file: "shared/shared_supply.ts",
    find: "const code = this.#hasMoved({ first, end })",
    put: "const code = !this",
    caughtBy: ["shared/abandoned"],
  },
  {
    what: "cache: an owner does not say that it is busy before it takes",
    file: "shared/cache.ts",
    find:
      `    // Before the lock is read. A processor may turn these two round, but not past the fence of a thief.
    own[CACHE_BUSY] = 1;
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: an owner takes without a look at the lock",
    file: "shared/cache.ts",
    find: `    if (own[CACHE_LOCK] !== 0) {
      own[CACHE_BUSY] = 0;
      return false;
    }
    // After`,
    put: "    // After",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: an owner is idle before it has taken",
    file: "shared/cache.ts",
    find: `    owner[slot] = word + FREE_TO_HELD | 0;
    own[TAKES]!++;
    own[CACHE]! &= ~(1 << (slot & 31));
    own[CACHE_BUSY] = 0;`,
    put: `    own[CACHE_BUSY] = 0;
    owner[slot] = word + FREE_TO_HELD | 0;
    own[TAKES]!++;
    own[CACHE]! &= ~(1 << (slot & 31));`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: a thief opens what the mask says",
    file: "shared/cache.ts",
    find: `    if (!isCachedBy(word, from)) return false;
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: an owner does not say that it is busy before it puts back",
    file: "shared/cache.ts",
    find: `    // As in \`take\`.
    own[CACHE_BUSY] = 1;
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: an owner puts back without a look at the lock",
    file: "shared/cache.ts",
    find: "if (own[CACHE_LOCK] !== 0 || (word & HELD_MASK) !== this.#held) {",
    put: "if ((word & HELD_MASK) !== this.#held) {",
    caughtBy: ["protocol/protocol"],
  },
  {
    what:
      "cache: a thief has no fence after its look whether the owner is busy",
    file: "shared/cache.ts",
    find:
      `      // What an owner did before it was idle is seen from here on, also where stores are not in order.
      if (!KEEPS_ORDER && fence() !== 0) return mine;
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: a theft ends without a fence",
    file: "shared/cache.ts",
    find: "mayUnlock = KEEPS_ORDER || fence() === 0;",
    put: "mayUnlock = true;",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: what is asked for is told by a plain store",
    file: "shared/cache.ts",
    find: "    Atomics.store(this.#own, WORKER.CACHE_QUOTA, wanted);",
    put: "    this.#own[WORKER.CACHE_QUOTA] = wanted;",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: what is asked for is told once others have been counted",
    file: "shared/cache.ts",
    find: `    Atomics.store(this.#own, WORKER.CACHE_QUOTA, wanted);
    const others = this.#control.total(WORKER.CACHE_QUOTA) - wanted;`,
    put: `    const others = this.#control.total(WORKER.CACHE_QUOTA) - before;
    Atomics.store(this.#own, WORKER.CACHE_QUOTA, wanted);`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "counts: no fence between what was freed and what was taken",
    file: "shared/tally.ts",
    find: `      used -= words[this.#control.at(worker, FREES)]!;
    }
    this.#fence();`,
    put: `      used -= words[this.#control.at(worker, FREES)]!;
    }`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "slots: one is counted as freed before it is",
    file: "shared/shared_slots.ts",
    find: `    if (Atomics.compareExchange(owner, slot, word, next) !== word) {
      throw this.#stolen(slot);
    }
    this.#own[FREES]!++;`,
    put: `    this.#own[FREES]!++;
    if (Atomics.compareExchange(owner, slot, word, next) !== word) {
      throw this.#stolen(slot);
    }`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "taking: what is committed is read before what is in use",
    file: "shared/shared_slot_acquirer.ts",
    find: "return tally.atMost() <= this.#words[COMMITTED]! - kept;",
    put: "return this.#words[COMMITTED]! - kept >= tally.atMost();",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "healing: what is lost is less before what is committed is",
    file: "shared/healing.ts",
    find: `        Atomics.sub(words, HEADER.COMMITTED, 1);
        Atomics.store(words, HEADER.UNREPLACED, words[HEADER.HEAL_UNREPLACED]!);`,
    put:
      `        Atomics.store(words, HEADER.UNREPLACED, words[HEADER.HEAL_UNREPLACED]!);
        Atomics.sub(words, HEADER.COMMITTED, 1);`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "slots: a release looks for waiters before the slot is free",
    file: "shared/shared_slots.ts",
    find: `    if (Atomics.compareExchange(owner, slot, word, next) !== word) {
      throw this.#stolen(slot);
    }
    this.#own[FREES]!++;
    hints.last = slot;
    hints.due = slot;
    try {
      if (!hints.stands(slot)) hints.set(slot);
      hints.due = NO_SLOT;
      // After the swap: an acquire that begins to wait from here on finds the slot free.
      return this.#isHeard();`,
    put: `    const isHeard = this.#isHeard();
    if (Atomics.compareExchange(owner, slot, word, next) !== word) {
      throw this.#stolen(slot);
    }
    this.#own[FREES]!++;
    hints.last = slot;
    hints.due = slot;
    try {
      if (!hints.stands(slot)) hints.set(slot);
      hints.due = NO_SLOT;
      return isHeard;`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "tickets: a ticket's number is written once the slot is sent",
    file: "shared/shared_slots.ts",
    find: `    const number = serial[slot] = serial[slot]! + 1 | 0;
    const word = this.#mine(slot);
    // As in \`push\`.
    if (hotKindOf(word) === HOT_USED) {
      this.#used[this.#place[slot]! || slot] = 0;
    }
    this.#move(slot, word, TRANSIT, this.#worker, -1);
    return number;`,
    put: `    const number = serial[slot]! + 1 | 0;
    const word = this.#mine(slot);
    if (hotKindOf(word) === HOT_USED) {
      this.#used[this.#place[slot]! || slot] = 0;
    }
    this.#move(slot, word, TRANSIT, this.#worker, -1);
    return serial[slot] = number;`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what:
      "slots: the mark of a change of hands is taken down before it is counted",
    file: "shared/shared_slots.ts",
    find: `    if (isDone) own[MOVED]! += change;
    own[MOVING] = 0;`,
    put: `    own[MOVING] = 0;
    if (isDone) own[MOVED]! += change;`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "slots: one is taken that is not free",
    file: "shared/shared_slots.ts",
    find: `    if (!hotIsOpen(word)) return false;
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "hints: a release reads an old hint",
    file: "shared/hints.ts",
    find: "return (Atomics.load(this.#bits, at) & (1 << (slot & 31))) !== 0;",
    put: "return (this.#bits[at]! & (1 << (slot & 31))) !== 0;",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "hints: a searcher reads an old owner word",
    file: "shared/hints.ts",
    find: "const isFree = isOpen(Atomics.load(this.#owner, slot));",
    put: "const isFree = isOpen(this.#owner[slot]!);",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "attachments: who comes is taken for one at rest",
    file: "shared/worker_registry.ts",
    find: `      this.#become(worker, ATTACHED);
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "end: the pool is not closed before who is attached is looked at",
    file: "shared/shutdown.ts",
    find: `      Atomics.compareExchange(words, STATE, OPEN, CLOSING);
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "waiting: the epoch is read after the look",
    file: "shared/wait_loop.ts",
    find: `        const { epoch } = notifier;
        const block = acquirer.acquire(request, tries === 0, isNever);`,
    put: `        const block = acquirer.acquire(request, tries === 0, isNever);
        const { epoch } = notifier;`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "notifier: a notification leaves the epoch",
    file: "shared/notifier.ts",
    find: `    const words = this.#words;
    Atomics.add(words, HEADER.EPOCH, 1);
    // If`,
    put: `    const words = this.#words;
    // If`,
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "notifier: who waits no more overwrites what others tell",
    file: "shared/notifier.ts",
    find: "else Atomics.and(this.#words, this.#at, ~this.#bit);",
    put: "else this.#words[this.#at]! &= ~this.#bit;",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "waiting: a thread waits and does not tell",
    file: "shared/wait_loop.ts",
    find: `    notifier.listen(true);
    const standing`,
    put: "    const standing",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "attachments: an id that another was first to take is taken",
    file: "shared/worker_registry.ts",
    find:
      `      if (Atomics.compareExchange(words, at, NO_THREAD, mine) !== NO_THREAD) {
        continue;
      }`,
    put: "      Atomics.store(words, at, mine);",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "notifier: who waits tells so by a plain store",
    file: "shared/notifier.ts",
    find: "if (listens) Atomics.or(this.#words, this.#at, this.#bit);",
    put: "if (listens) this.#words[this.#at]! |= this.#bit;",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "healing: an intent counts before it is written",
    file: "shared/healing.ts",
    find: `    words[HEADER.HEAL_WORD] = word;
`,
    put: `    Atomics.store(words, HEADER.HEAL_SLOT, slot + 1);
    words[HEADER.HEAL_WORD] = word;
`,
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "end: two end the pool",
    file: "shared/shutdown.ts",
    find: `      if (before !== 0 && before !== mine) return;
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "cache: owners are not told that others are short of blocks",
    file: "shared/cache.ts",
    find: `    if (found || isBusy) Atomics.add(this.#words, SHORTAGES, 1);
`,
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "cache: it goes on when others are short of blocks",
    file: "shared/cache.ts",
    find:
      "if (this.#words[SHORTAGES] !== this.#shortages) return this.#retreat();",
    put: "",
    caughtBy: ["shared/cache"],
  },
  {
    what: "end: an unmapping is not marked before it begins",
    file: "shared/shutdown.ts",
    find: `    Atomics.store(words, MAPPING, UNMAPPING);
`,
    put: "",
    caughtBy: ["protocol/protocol"],
  },
  {
    what: "healing: an intent is taken down before it is done",
    file: "shared/healing.ts",
    find: `    let isFree = false;
`,
    put: `    let isFree = false;
    Atomics.store(words, HEADER.HEAL_SLOT, 0);
`,
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what:
      "housekeeping: counts of the dead are compared once its slots are free",
    file: "shared/reaper.ts",
    find: `    slots.tally.settle(dead);
    let back = 0;
    for (let slot = 0; slot < control.owner.length; slot++) {
      if (this.#take(slot, dead)) back++;
    }
`,
    put: `    let back = 0;
    for (let slot = 0; slot < control.owner.length; slot++) {
      if (this.#take(slot, dead)) back++;
    }
    slots.tally.settle(dead);
`,
    caughtBy: ["shared/death_at_every_access"],
  },
  {
    what: "attachments: who is refused is attached until the id is given back",
    file: "shared/attach.ts",
    find: `    registry.rest(worker);
    new SharedShutdown`,
    put: "    new SharedShutdown",
    caughtBy: ["shared/close"],
  },
];
