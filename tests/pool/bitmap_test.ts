// The set of small integers against JavaScript's own Set.

import { assert, assertEquals } from "@std/assert";
import { Bitmap } from "../../pool/bitmap.ts";
import { Rng, seedOfRun } from "../support/rng.ts";

/** One word, the edges of one, of a level of 32 words, of two levels. */
const SIZES = [1, 2, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 32768, 32769];

/** Everything in the set, found by asking for the lowest. Empties it. */
function drain(bitmap: Bitmap): number[] {
  const found: number[] = [];
  for (let at; (at = bitmap.lowest()) >= 0;) {
    found.push(at);
    bitmap.remove(at);
  }
  return found;
}

Deno.test("lowest() is -1 in an empty set of any size", () => {
  for (const size of SIZES) assertEquals(new Bitmap(size).lowest(), -1);
});

Deno.test("lowest() finds every single member, alone in the set", () => {
  for (const size of SIZES) {
    const step = size > 2000 ? 97 : 1;
    for (let at = size - 1; at >= 0; at -= step) {
      const bitmap = new Bitmap(size);
      bitmap.add(at);
      assert(bitmap.has(at));
      assertEquals(drain(bitmap), [at], `${at} of ${size}`);
    }
  }
});

Deno.test("lowest() goes down again when a lower number is added", () => {
  const bitmap = new Bitmap(5000);
  for (const at of [4999, 1024, 1023, 33, 32, 31, 0]) {
    bitmap.add(at);
    assertEquals(bitmap.lowest(), at);
    assertEquals(bitmap.floor, at);
  }
});

Deno.test("floor is never above a member", () => {
  const bitmap = new Bitmap(100);
  bitmap.addRange(40, 60);
  assertEquals(bitmap.lowest(), 40);
  for (let at = 40; at < 60; at++) bitmap.remove(at);
  assertEquals(bitmap.lowest(), -1);
  bitmap.add(10);
  assertEquals([bitmap.floor, bitmap.lowest()], [10, 10]);
});

Deno.test("add() and remove() twice change nothing the second time", () => {
  const bitmap = new Bitmap(2000);
  bitmap.add(1500);
  bitmap.add(1500);
  bitmap.remove(1500);
  assertEquals([bitmap.has(1500), bitmap.lowest()], [false, -1]);
  bitmap.remove(1500);
  bitmap.remove(3);
  assertEquals(bitmap.lowest(), -1);
});

Deno.test("addRange() puts exactly its numbers in, wherever it starts and ends", () => {
  for (let start = 0; start < 70; start++) {
    for (let count = 0; count < 105; count++) {
      const bitmap = new Bitmap(200);
      bitmap.addRange(start, start + count);
      const expected = Array.from({ length: count }, (_, i) => start + i);
      assertEquals(drain(bitmap), expected, `${count} from ${start}`);
    }
  }
});

Deno.test("addRange() keeps the members outside and inside the range", () => {
  const bitmap = new Bitmap(300);
  for (const at of [5, 63, 64, 200]) bitmap.add(at);
  bitmap.addRange(60, 130);
  const range = Array.from({ length: 70 }, (_, i) => 60 + i);
  assertEquals(drain(bitmap), [5, ...range, 200]);
});

Deno.test("extend() keeps the members, and has room for the new numbers", () => {
  for (const from of SIZES) {
    for (const to of SIZES.filter((size) => size >= from)) {
      const bitmap = new Bitmap(from);
      const members = new Set([0, from >> 1, from - 1]);
      for (const at of members) bitmap.add(at);
      bitmap.remove(0);
      members.delete(0);
      bitmap.extend(to);
      const where = `${from} to ${to}`;
      assertEquals(
        bitmap.lowest(),
        members.size > 0 ? Math.min(...members) : -1,
      );
      assert(!bitmap.has(from) && !bitmap.has(0), where);
      for (const at of [to - 1, from]) {
        if (at >= to) continue;
        bitmap.add(at);
        members.add(at);
      }
      assertEquals(drain(bitmap), [...members].sort((a, b) => a - b), where);
    }
  }
});

Deno.test("extend() of an empty set is an empty set of another size", () => {
  for (const from of SIZES) {
    const bitmap = new Bitmap(from);
    bitmap.extend(from + 40_000);
    assertEquals(bitmap.lowest(), -1);
    bitmap.addRange(from, from + 40_000);
    assertEquals(bitmap.lowest(), from);
    assert(bitmap.has(from + 39_999));
  }
});

Deno.test("Bitmap agrees with a Set after any operations", () => {
  const seed = seedOfRun();
  const rng = new Rng(seed);
  for (const first of SIZES) {
    let size = first;
    const bitmap = new Bitmap(size);
    const set = new Set<number>();
    const lowest = () => set.size === 0 ? -1 : Math.min(...set);
    for (let step = 0; step < 600; step++) {
      const at = rng.below(size);
      if (rng.chance(0.01)) bitmap.extend(size += rng.below(size + 40));
      switch (rng.below(5)) {
        case 0:
          bitmap.add(at);
          set.add(at);
          break;
        case 1:
        case 2: // The usual way to take one: the lowest.
          bitmap.remove(step % 2 ? at : Math.max(0, lowest()));
          set.delete(step % 2 ? at : Math.max(0, lowest()));
          break;
        case 3: {
          const end = Math.min(size, at + rng.below(80));
          bitmap.addRange(at, end);
          for (let i = at; i < end; i++) set.add(i);
          break;
        }
        default: // No change: asking twice must give the same.
      }
      const where = `size ${size}, step ${step}, SMRITI_SEED=${seed}`;
      assertEquals(bitmap.has(at), set.has(at), where);
      assertEquals(bitmap.lowest(), lowest(), where);
    }
    assertEquals(drain(bitmap), [...set].sort((a, b) => a - b));
  }
});
