// A Worker that does as it is told by tests/shared/puppet.ts: runs functions that come as source.

import { SharedBlockPool, type SharedPoolHandle } from "../../shared/mod.ts";
import type { Strings } from "./puppet.ts";

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: unknown, transfer?: Transferable[]): void;
};

let strings: Strings;

scope.onmessage = async ({ data }) => {
  const { number, handle, source, args } = data as {
    number: number;
    handle?: SharedPoolHandle;
    source: string;
    args: unknown[];
  };
  try {
    if (handle !== undefined) {
      const pool = SharedBlockPool.attach(handle);
      strings = { pool, held: [], SharedBlockPool };
    }
    const result = await (0, eval)(`(${source})`)(strings, ...args);
    // A buffer goes there itself: a copy would prove nothing of its memory.
    const transfer = result instanceof ArrayBuffer ? [result] : [];
    scope.postMessage({ number, result }, transfer);
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    scope.postMessage({ number, error: { code, message } });
  }
};
