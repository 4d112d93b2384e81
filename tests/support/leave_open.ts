// Programs of their own that leave pools open, and what that costs: for tests of what outlives an isolate.

import { assertEquals } from "@std/assert";

/** Bytes of one pool in these programs, all of them written. */
export const POOL = 64 * 2 ** 20;

/** Source of `rss()`, in bytes, of `collect()`, which has garbage found, and of what Workers need. */
export const TOOLS = `
const rss = () => Number(
  Deno.readTextFileSync("/proc/self/status").match(/VmRSS:\\s+(\\d+)/)[1]) * 1024;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const collect = async () => { for (let i = 0; i < 4; i++) { gc(); await pause(10); } };
const workerOf = (source) => new Worker(
  "data:application/javascript," + encodeURIComponent(source), { type: "module" });
const heard = (worker) => new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));`;

/** Source of the last statement of a Worker that ends in one of the ways. */
export const ENDS = {
  close: "setTimeout(() => self.close(), 5);",
  throw: "setTimeout(() => { throw new Error('bug'); }, 5);",
  terminate: "setInterval(() => {}, 1e6);",
} as const;

const FLAGS = ["--allow-all", "--no-check", "--quiet", "--no-config"];

/** Runs a program, which has to end well: its lines, and what it said on stderr. */
export async function run(source: string, flags: string[] = []) {
  const path = await Deno.makeTempFile({ suffix: ".mjs" });
  try {
    await Deno.writeTextFile(path, source);
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", ...FLAGS, ...flags, path],
      env: { NO_COLOR: "1" },
    }).output();
    const decoder = new TextDecoder();
    const told = decoder.decode(stderr);
    assertEquals(code, 0, told);
    return { lines: decoder.decode(stdout).trim().split("\n"), told };
  } finally {
    await Deno.remove(path);
  }
}

/**
 * Runs a program under `--watch` that prints `rss` and its size at each start, `starts` times: these sizes,
 * and what was said on stderr.
 */
export async function reloaded(source: string, starts: number) {
  const folder = await Deno.makeTempDir();
  const [app, trigger] = [`${folder}/app.mjs`, `${folder}/trigger`];
  try {
    await Deno.writeTextFile(trigger, "0");
    await Deno.writeTextFile(app, source);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", ...FLAGS, `--watch=${trigger}`, app],
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1" },
    }).spawn();
    const errors = new Response(child.stderr).text();
    const sizes: number[] = [];
    let text = "";
    for await (
      const part of child.stdout.pipeThrough(new TextDecoderStream())
    ) {
      text += part;
      const found = [...text.matchAll(/rss (\d+)\n/g)].map(([, size]) =>
        Number(size)
      );
      if (found.length === sizes.length) continue;
      sizes.splice(0, sizes.length, ...found);
      if (sizes.length === starts) child.kill("SIGKILL");
      // The watcher looks for changes of the file once it has started the program.
      else {
        setTimeout(
          () => Deno.writeTextFileSync(trigger, `${sizes.length}`),
          400,
        );
      }
    }
    await child.status;
    return { sizes, told: await errors };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
