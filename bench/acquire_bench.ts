/**
 * Taking a block and giving it back, against what a program would do without a pool.
 *
 * Two shapes: `cycle` takes one, writes a byte and gives it back; `held` keeps 256 and swaps a
 * random one. Baselines run in the same process. Each case does many operations per iteration, so
 * that the clock's own cost vanishes; `bench/ratios.ts` prints the ratios.
 */
import { CASES, SHAPES, SIZES } from "./cases.ts";

for (const [sizeName, size] of SIZES) {
  for (const shape of SHAPES) {
    for (const { name, make } of CASES) {
      const { cycle, swap } = make(size);
      const run = shape === "cycle" ? cycle : swap(256);
      Deno.bench({
        name,
        group: `${shape}, ${sizeName}, 1000 operations`,
        baseline: name === "new Uint8Array",
        fn: () => run(1000),
      });
    }
  }
}
