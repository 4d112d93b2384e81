// Stands in for jsr:@std/assert (see "links" in deno.json), so that the tests
// also run where only npm is within reach. The code is std's own, in its npm
// build; that build has no types, so those the tests use are written beside it.

// @ts-types="./types.d.ts"
export * from "deno-std/assert/mod.js";
