/**
 * The floor in C and Go, compiled here if the compilers and the libraries are; else a line that
 * says what was left out, and why. Installs nothing.
 */
import { inProgram } from "../child.ts";

/** Nanoseconds for one operation in each shape. */
export interface Shapes {
  readonly cycle: number;
  readonly held: number;
}

/** What could be compiled, and what could not. */
export interface Floor extends Disposable {
  /** By name, how to run it at a block size. */
  readonly programs: Readonly<
    Record<string, (size: number) => Promise<Shapes>>
  >;
  readonly leftOut: readonly string[];
}

const NATIVE = new URL("./native/", import.meta.url);
const DPDK_FLAGS =
  "--no-huge --no-pci --no-telemetry --no-shconf -l 0 -m 1400 --log-level=3 --"
    .split(" ");
const MALLOCS: Record<string, string[]> = {
  "C: glibc malloc": [],
  "C: mimalloc": ["-Wl,--no-as-needed", "-lmimalloc"],
  "C: jemalloc": ["-Wl,--no-as-needed", "-ljemalloc"],
};

/** Compiles into a folder of its own, which goes away with the result. */
export async function compileFloor(): Promise<Floor> {
  const folder = await Deno.makeTempDir({ prefix: "smriti-floor-" });
  const programs: Record<string, (size: number) => Promise<Shapes>> = {};
  const leftOut: string[] = [];
  const source = file("floor.c");
  let made = 0;
  const add = async (
    names: Record<string, (size: number) => string[]>,
    compiler: string,
    flags: (target: string) => string[],
  ) => {
    const target = `${folder}/floor${made++}`;
    const failure = await failed(compiler, flags(target));
    for (const [name, args] of Object.entries(names)) {
      if (failure !== undefined) leftOut.push(`${name} (${failure})`);
      else programs[name] = (size) => inProgram(target, args(size));
    }
  };
  for (const [name, libraries] of Object.entries(MALLOCS)) {
    await add(
      { [name]: (size) => [String(size)] },
      "cc",
      (target) => ["-O2", "-o", target, source, ...libraries],
    );
  }
  const headers = await said("pkg-config", ["--cflags", "libdpdk"]);
  await add(
    {
      "C: DPDK rte_mempool, cached": (
        size,
      ) => [...DPDK_FLAGS, String(size), "256"],
      "C: DPDK rte_mempool, no cache": (
        size,
      ) => [...DPDK_FLAGS, String(size), "0"],
    },
    "cc",
    (target) => [
      "-O2",
      "-DDPDK",
      ...headers,
      "-o",
      target,
      source,
      "-lrte_eal",
      "-lrte_mempool",
      "-lrte_ring",
    ],
  );
  await add(
    { "Go: buffered channel": (size) => [String(size)] },
    "go",
    (target) => ["build", "-o", target, file("channel.go")],
  );
  return {
    programs,
    leftOut,
    [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }),
  };
}

function file(name: string): string {
  return decodeURIComponent(new URL(name, NATIVE).pathname);
}

/** Why that program did not succeed; undefined if it did. */
async function failed(
  program: string,
  args: string[],
): Promise<string | undefined> {
  try {
    const { success, stderr } = await new Deno.Command(program, { args })
      .output();
    if (success) return undefined;
    const text = new TextDecoder().decode(stderr);
    const why = text.split("\n").find((line) => /error|cannot find/.test(line));
    return (why ?? text).replace(/^.*?(error|ld): /, "").trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `no ${program} here`;
    throw error;
  }
}

/** The words a program prints; none if it is not here or fails. */
async function said(program: string, args: string[]): Promise<string[]> {
  try {
    const { stdout } = await new Deno.Command(program, { args }).output();
    return new TextDecoder().decode(stdout).split(/\s+/).filter(Boolean);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
