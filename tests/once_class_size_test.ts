// Once: `SizeClassPool` puts `blockSize` into the default name before anybody has checked it; a
// symbol or a detached array then gives V8's own TypeError, which names no option. Fix: `show(size)`
// in that name. to options_test.ts.

import { assertStringIncludes, assertThrows } from "@std/assert";
import { SizeClassPool } from "@smriti/pool";
import "./support/open_library.ts";

Deno.test({
  name: "SizeClassPool() names a blockSize that cannot be shown as text",
}, () => {
  for (const blockSize of [Symbol("big"), Object.create(null)]) {
    const error = assertThrows(
      () => new SizeClassPool([{ blockSize, maxBlocks: 1 }]),
      TypeError,
    );
    assertStringIncludes(error.message, "blockSize must be");
  }
});
