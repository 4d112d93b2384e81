// docs/sinks.md, which says when a block may be released whose bytes an API was
// given, is what this runtime does: tools/sinks.ts tries each API once more.

import { assertEquals } from "@std/assert";
import { differences } from "../../tools/sinks.ts";
import {
  canRunDeno,
  hasNative,
  hasPosixShell,
  isEmulated,
} from "../support/platform.ts";

Deno.test({
  name: "the table of what keeps the bytes it is given is right",
  ignore: !canRunDeno || !hasNative || !hasPosixShell || isEmulated,
  async fn() {
    assertEquals(await differences(), []);
  },
});
