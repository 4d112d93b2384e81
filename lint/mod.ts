/**
 * A plugin for `deno lint` that tracks the leases of blocks: it reports misuse of blocks and of their
 * bytes which a test run does not show.
 *
 * ```json
 * { "lint": { "plugins": ["jsr:@smriti/pool/lint"] } }
 * ```
 *
 * | rule | reports |
 * |---|---|
 * | `smriti/lend-io` | bytes given to an operation that is not over when the lease can end |
 * | `smriti/lend-return` | a function given to `lend` or `use` that starts an operation and does not wait for it |
 * | `smriti/no-queue` | bytes put into a stream, an array, a Map that uses them after the lease |
 * | `smriti/release` | a block that some way out of the function does not release |
 * | `smriti/no-use-after-release` | a block or its bytes used after the lease |
 * | `smriti/await-acquire` | the promise of a block used as the block |
 * | `smriti/acquire-many` | waiting for a block while holding one of the same pool: the deadlock |
 * | `smriti/race` | an operation that loses a race and goes on with the bytes |
 * | `smriti/no-block-as-bytes` | a block where its bytes are meant |
 *
 * Sees one file at a time and no types but those written in it. What it cannot know it does not
 * report. Each rule is switched off as every rule of `deno lint` is.
 *
 * @module
 */
import { findingsOf } from "./analysis.ts";
import type { RuleName } from "./values.ts";

const RULES: readonly RuleName[] = [
  "lend-io",
  "lend-return",
  "no-queue",
  "release",
  "no-use-after-release",
  "await-acquire",
  "acquire-many",
  "race",
  "no-block-as-bytes",
];

/**
 * A rule. It reports when it is made and asks for no visits: without any, Deno does not walk the
 * tree, and the analysis has a walk of its own.
 */
function ruleOf(name: RuleName): Deno.lint.Rule {
  return {
    create(context) {
      const { sourceCode } = context;
      const source = () => sourceCode.text;
      for (const each of findingsOf(name, sourceCode.ast, source)) {
        const { range, message, hint, fix } = each;
        context.report({
          range,
          message,
          hint,
          ...(fix === undefined ? {} : { fix: () => fix() }),
        });
      }
      return {};
    },
  };
}

/** The plugin: name it in `lint.plugins` of `deno.json`. */
const plugin: Deno.lint.Plugin = {
  name: "smriti",
  rules: Object.fromEntries(RULES.map((name) => [name, ruleOf(name)])),
};

export default plugin;
