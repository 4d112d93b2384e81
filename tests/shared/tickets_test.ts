// Blocks that go from one isolate to another: exactly once, with what is in them, or back in time.

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertThrows,
} from "@std/assert";
import { type BlockTicket, SharedBlockPool } from "../../shared/mod.ts";
import { numbers, PAGE, sharedPool, whole } from "./pools.ts";
import { Puppet } from "./puppet.ts";
import { addressOf, refused, until } from "../support/misuse.ts";
import { provesDeath } from "../support/platform.ts";
import { playWindows } from "./backends.ts";

Deno.test("a block detached here goes on in a Worker with its contents, and back", async () => {
  const pool = sharedPool();
  using puppet = await Puppet.start(pool);
  const block = pool.acquireSync({ tag: "mine" });
  const view = block.bytes.fill(7);
  const part = view.subarray(5, 9);
  const address = `${addressOf(view)}`;
  const ticket = block.detach();
  assertEquals([view.length, part.length, block.released], [0, 0, true]);
  assertEquals(numbers(pool).transitBlocks, 1);
  refused("released", () => block.bytes);
  refused("released", () => block.release());
  refused("released", () => block.detach());
  block[Symbol.dispose]();

  const seen = await puppet.run(({ pool, held }, ticket: BlockTicket) => {
    const block = pool.adopt(ticket, { tag: "his" });
    held.push(block);
    const pointer = Deno.UnsafePointer.of(block.bytes);
    const address = `${Deno.UnsafePointer.value(pointer)}`;
    const isSame = block.bytes.every((byte) => byte === 7);
    block.bytes.fill(8, 100);
    return { address, isSame, tag: block.tag, size: block.size };
  }, ticket);
  assertEquals(seen, { address, isSame: true, tag: "his", size: PAGE });
  const { transitBlocks, acquiredBlocks } = numbers(pool);
  assertEquals([transitBlocks, acquiredBlocks], [0, 1]);

  const back = await puppet.run(({ held }) => held.pop()!.detach());
  const again = pool.adopt(back);
  assertEquals(addressOf(again.bytes), BigInt(address));
  assertEquals([again.bytes[99], again.bytes[100], again.tag], [
    7,
    8,
    undefined,
  ]);
  again.release();
  const { acquires, releases } = numbers(pool);
  assertEquals([acquires, releases], [1, 1]);
  await pool.close();
});

Deno.test("a ticket is good once, by whoever comes first", async () => {
  const pool = sharedPool();
  using puppet = await Puppet.start(pool);
  const ticket = pool.acquireSync().detach();
  const block = pool.adopt(structuredClone(ticket));
  refused("foreign-block", () => pool.adopt(ticket));
  const adopt = ({ pool }: { pool: SharedBlockPool }, ticket: BlockTicket) => {
    try {
      pool.adopt(ticket);
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  assertEquals(await puppet.run(adopt, ticket), "foreign-block");
  // The slot goes on, and the old ticket with it does not.
  const next = block.detach();
  refused("foreign-block", () => pool.adopt(ticket));
  pool.adopt(next).release();
  refused("foreign-block", () => pool.adopt(next));
  whole(pool);
  await pool.close();
});

Deno.test("tickets of other pools, and junk, are refused and change nothing", async () => {
  const pool = sharedPool();
  const other = sharedPool();
  const ticket = pool.acquireSync().detach();
  const error = refused("foreign-block", () => other.adopt(ticket));
  assert(error.message.includes("smriti"));
  const junk: unknown[] = [
    undefined,
    null,
    5,
    "x",
    {},
    [],
    () => {},
    { ...ticket, pool: undefined },
    { ...ticket, slot: "0" },
    { ...ticket, slot: 0.5 },
    { ...ticket, slot: -1 },
    { ...ticket, serial: NaN },
    { ...ticket, serial: 2 ** 40 },
  ];
  for (const each of junk) {
    const error = assertThrows(() => pool.adopt(each as never));
    assert(error instanceof TypeError || error instanceof RangeError);
  }
  for (const slot of [1, 4, 2 ** 31, Number.MAX_SAFE_INTEGER]) {
    refused("foreign-block", () => pool.adopt({ ...ticket, slot }));
  }
  refused("foreign-block", () => pool.adopt({ ...ticket, serial: 2 }));
  for (const options of [null, 5, { tga: "x" }, { tag: 5 }]) {
    assertThrows(() => pool.adopt(ticket, options as never), TypeError);
  }
  pool.adopt(ticket).release();
  whole(pool);
  await pool.close();
  await other.close();
});

Deno.test("a block that somebody else may write to cannot be detached", async () => {
  const pool = sharedPool();
  const lent = pool.acquireSync();
  const gate = Promise.withResolvers<void>();
  const lend = lent.lend(gate.promise);
  refused("lent", () => lent.detach());
  const escaped = pool.acquireSync();
  const gone = structuredClone(escaped.bytes, {
    transfer: [escaped.bytes.buffer],
  });
  refused("lent", () => escaped.detach());
  escaped.bytes[0] = 1; // healed, but the other buffer is still out
  refused("lent", () => escaped.detach());
  escaped.reattach(gone);
  pool.adopt(escaped.detach()).release();
  gate.resolve();
  await lend;
  pool.adopt(lent.detach()).release();
  whole(pool);
  await pool.close();
});

Deno.test("a batch goes whole, or not at all", async () => {
  const pool = sharedPool({ maxBlocks: 8 });
  using puppet = await Puppet.start(pool);
  const blocks = await pool.acquireMany(5);
  blocks.forEach(({ bytes }, i) => bytes.fill(i + 1));
  const spare = pool.acquireSync();
  const gate = Promise.withResolvers<void>();
  const lend = spare.lend(gate.promise);
  refused("lent", () => pool.detachMany([...blocks, spare]));
  assertThrows(() => pool.detachMany([...blocks, blocks[0]]), RangeError);
  assertThrows(() => pool.detachMany([...blocks, 5 as never]), TypeError);
  assertEquals(numbers(pool).transitBlocks, 0);
  gate.resolve();
  await lend;
  spare.release();
  refused("released", () => pool.detachMany([...blocks, spare]));
  assertEquals(numbers(pool).transitBlocks, 0);

  const tickets = pool.detachMany(blocks);
  assertInstanceOf(tickets, Int32Array);
  assertEquals(numbers(pool).transitBlocks, 5);
  const seen = await puppet.run(({ pool, held }, tickets: Int32Array) => {
    held.push(...pool.adoptMany(tickets, { tag: "batch" }));
    return held.map(({ bytes, tag }) => `${tag} ${bytes[0]} ${bytes.at(-1)}`);
  }, tickets);
  assertEquals(seen, [1, 2, 3, 4, 5].map((n) => `batch ${n} ${n}`));
  const back = await puppet.run(({ pool, held }) =>
    pool.detachMany(held.splice(0))
  );
  refused("foreign-block", () => pool.adoptMany(tickets));

  // One of them is used: none of the others is touched.
  const [, , , pool4, slot4, serial4] = back;
  pool.adopt({ pool: pool4, slot: slot4, serial: serial4 }).release();
  refused("foreign-block", () => pool.adoptMany(back));
  assertEquals(numbers(pool).transitBlocks, 4);
  const rest = new Int32Array([...back.subarray(0, 3), ...back.subarray(6)]);
  const twice = new Int32Array([...rest, ...rest.subarray(0, 3)]);
  refused("foreign-block", () => pool.adoptMany(twice));
  // Only together they looked good; each is as good as before.
  assertEquals(numbers(pool).transitBlocks, 4);
  for (const block of pool.adoptMany(rest)) block.release();
  whole(pool);
  for (const wrong of [undefined, null, 5, {}, "", "x"]) {
    assertThrows(
      () => pool.detachMany(wrong as never),
      TypeError,
      "blocks must be an array of blocks, got ",
    );
  }
  for (const wrong of [undefined, [1, 2, 3], new Int32Array(4), "x"]) {
    assertThrows(() => pool.adoptMany(wrong as never), TypeError);
  }
  assertThrows(() => pool.adoptMany(new Int32Array([1, -1, 1])), RangeError);
  assertEquals(pool.adoptMany(pool.detachMany([])), []);
  await pool.close();
});

Deno.test("detachMany() detaches what it has checked, even from a list that changes", async () => {
  const pool = sharedPool();
  const [first, second] = await pool.acquireMany(2);
  second.bytes[0] = 2;
  let reads = 0;
  const sly = new Proxy([first], {
    get(list, key) {
      if (key === Symbol.iterator) reads++;
      return Reflect.get(reads < 2 ? list : [second], key);
    },
  });
  const tickets = pool.detachMany(sly);
  assertEquals([first.released, second.released], [true, false]);
  assertEquals(numbers(pool).transitBlocks, 1);
  const [again] = pool.adoptMany(tickets);
  assertEquals([again.bytes[0], second.bytes[0]], [0, 2]);
  refused("released", () => first.bytes);
  again.release();
  second.release();
  whole(pool);
  await pool.close();
});

Deno.test(
  "a ticket outlives its sender, and comes back zeroed when its time is over",
  {
    ignore: !provesDeath,
  },
  async () => {
    const pool = sharedPool({ maxBlocks: 1, ticketTimeoutMs: 150 });
    const puppet = await Puppet.start(pool);
    const ticket = await puppet.run(({ pool }) => {
      const block = pool.acquireSync();
      block.bytes.fill(9);
      return block.detach();
    });
    puppet.kill();
    const block = await pool.acquire();
    assert(block.bytes.every((byte) => byte === 0), "zeroed");
    refused("foreign-block", () => pool.adopt(ticket));
    block.release();
    whole(pool);
    await pool.close();
  },
);

Deno.test("a ticket adopted after its sender has died has what he wrote", {
  ignore: !provesDeath,
}, async () => {
  // However long it takes to see that it has died.
  const pool = sharedPool({ maxBlocks: 1, ticketTimeoutMs: 2 ** 31 - 1 });
  const puppet = await Puppet.start(pool);
  const ticket = await puppet.run(({ pool }) => {
    const block = pool.acquireSync();
    block.bytes.fill(9);
    return block.detach();
  });
  puppet.kill();
  await until(() => numbers(pool).attachedWorkers === 1);
  // Another worker under the same id.
  using next = await Puppet.start(pool);
  assertEquals(next.id, puppet.id);
  const block = pool.adopt(ticket);
  assert(block.bytes.every((byte) => byte === 9));
  block.release();
  whole(pool);
  await pool.close();
});

Deno.test("tickets on their way do not hold up close(), and are void after it", async () => {
  const pool = sharedPool();
  const ticket = pool.acquireSync().detach();
  await pool.close();
  refused("closed", () => pool.adopt(ticket));
  const { committedBlocks, transitBlocks, mappedBytes } = numbers(pool);
  assertEquals([committedBlocks, transitBlocks, mappedBytes], [0, 0, 0]);
});

Deno.test("detach() of the last block of a closing pool ends it", async () => {
  const pool = sharedPool();
  const block = pool.acquireSync();
  const closed = pool.close();
  block.detach();
  await closed;
});

Deno.test("zero: false: a block goes on as it is, and comes back as it is", async () => {
  const pool = sharedPool({ maxBlocks: 1, zero: false, ticketTimeoutMs: 30 });
  const block = pool.acquireSync();
  block.bytes.fill(5);
  block.detach();
  using again = await pool.acquire();
  assertEquals(again.bytes[0], 5);
  again.release();
  await pool.close();
});

Deno.test("memory that does not come back zeroed does not spoil what is adopted in it", async () => {
  using _ = playWindows();
  const pool = sharedPool({ initialBlocks: 1, growStep: 1 });
  const other = SharedBlockPool.attach(pool.handle);
  const blocks = await pool.acquireMany(4);
  blocks[Symbol.dispose]();
  // The attachment that gave memory back takes what it has never seen for stale.
  assert(other.trim() > 0);
  const filled = await pool.acquireMany(4);
  for (const { bytes } of filled) bytes.fill(6);
  const adopted = other.adoptMany(pool.detachMany(filled));
  for (const block of adopted) {
    assert(block.bytes.every((byte) => byte === 6));
    block.release();
  }
  using clean = await other.acquireMany(4);
  for (const { bytes } of clean) assert(bytes.every((byte) => byte === 0));
  clean[Symbol.dispose]();
  other.leave();
  await pool.close();
});
