// A Worker that explores as it is told: one configuration in one memory model after the other.

import "./processor.ts";
import { checkEnd } from "./checks.ts";
import { CONFIGURATIONS } from "./configurations.ts";
import type { Answer, Order } from "./explore.ts";
import { Explorer } from "./explorer.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage(answer: Answer): void;
};

let explored: { readonly name: string; readonly explorer: Explorer };

scope.onmessage = async ({ data }) => {
  const { name, mode, bound = Infinity, ms, replay } = data;
  if (explored?.name !== name) {
    const explorer = new Explorer(CONFIGURATIONS[name]!, checkEnd);
    explored = { name, explorer };
  }
  const { explorer } = explored;
  if (replay === undefined) {
    const pass = await explorer.explore(mode, bound, ms);
    return scope.postMessage({ pass });
  }
  const lines: string[] = [];
  const wrong = explorer.replay(mode, replay, (line) => lines.push(line));
  scope.postMessage({ wrong, lines });
};
