/** Node's and Bun's side of a child that serves, as bench/child.ts says. */
import { readFileSync } from "node:fs";
import process from "node:process";

const report = (value) => process.stderr.write(`${JSON.stringify(value)}\n`);

/** Tells the port, then the cost whenever it is asked, until stdin ends. */
export function answer(port) {
  report({ port });
  process.stdin.on("data", () => {
    const { user, system } = process.cpuUsage();
    const status = readFileSync("/proc/self/status", "utf8");
    const kib = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)[1]);
    report({ cpuMicros: user + system, peakBytes: 1024 * kib });
  });
  process.stdin.on("end", () => process.exit());
}

/** Calls back with the last byte of each frame; gives the function that takes what has arrived. */
export function framing(onFrame) {
  let rest = new Uint8Array(0);
  return (chunk) => {
    let all = chunk;
    if (rest.length > 0) {
      all = new Uint8Array(rest.length + chunk.length);
      all.set(rest);
      all.set(chunk, rest.length);
    }
    let at = 0;
    while (all.length - at >= 4) {
      const size = new DataView(all.buffer, all.byteOffset + at).getUint32(0);
      if (all.length - at - 4 < size) break;
      at += 4 + size;
      onFrame(all[at - 1]);
    }
    rest = all.subarray(at);
  };
}
