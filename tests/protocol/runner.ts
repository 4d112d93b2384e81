// A Worker that explores as it is told: one configuration in one memory model after the other.

import "./processor.ts";
import { Rng } from "../support/rng.ts";
import { checkEnd } from "./checks.ts";
import { CONFIGURATIONS } from "./configurations.ts";
import { Explorer } from "./explorer.ts";
import type { Answer, Order } from "./explore.ts";

addEventListener("message", async ({ data }: MessageEvent<Order>) => {
  const { name, mode, ms, seed, replay } = data;
  const configuration = CONFIGURATIONS[name]!;
  const explorer = new Explorer(configuration, mode, checkEnd);
  const lines: string[] = [];
  const answer: Answer = replay === undefined
    ? { result: await explorer.explore({ ms, rng: new Rng(seed) }) }
    : { wrong: explorer.replay(replay, (line) => lines.push(line)), lines };
  postMessage(answer);
});
