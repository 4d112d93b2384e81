// Stands in for jsr:@std/async, the way ../assert/mod.ts does for its namesake.
// One module at a time: the npm build of std's mod.js imports a missing file.

// @ts-types="./types.d.ts"
export { deadline } from "deno-std/async/deadline.js";
// @ts-types="./types.d.ts"
export { delay } from "deno-std/async/delay.js";
