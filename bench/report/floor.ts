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

/** One compilation, and what its program measures at a block size, by name and arguments. */
interface Build {
  readonly compiler: string;
  readonly flags: (target: string) => string[];
  readonly programs: Readonly<Record<string, (size: number) => string[]>>;
}

/** Compiles into a folder of its own, which goes away with the result. */
export async function compileFloor(): Promise<Floor> {
  const folder = await Deno.makeTempDir({ prefix: "smriti-floor-" });
  const programs: Record<string, (size: number) => Promise<Shapes>> = {};
  const leftOut: string[] = [];
  const source = file("floor.c");
  const c = (...flags: string[]) => (target: string) => [
    "-O2",
    "-o",
    target,
    source,
    ...flags,
  ];
  const { text } = await tried("pkg-config", ["--cflags", "libdpdk"]);
  const dpdk = "-lrte_eal -lrte_mempool -lrte_ring".split(" ");
  const builds: Build[] = [
    ...Object.entries(MALLOCS).map(([name, libraries]) => ({
      compiler: "cc",
      flags: c(...libraries),
      programs: { [name]: (size: number) => [String(size)] },
    })),
    {
      compiler: "cc",
      flags: c("-DDPDK", ...text.split(/\s+/).filter(Boolean), ...dpdk),
      programs: {
        "C: DPDK rte_mempool, cached": (n) => [...DPDK_FLAGS, `${n}`, "256"],
        "C: DPDK rte_mempool, no cache": (n) => [...DPDK_FLAGS, `${n}`, "0"],
      },
    },
    {
      compiler: "go",
      flags: (target) => ["build", "-o", target, file("channel.go")],
      programs: { "Go: buffered channel": (size) => [String(size)] },
    },
  ];
  for (const [at, build] of builds.entries()) {
    const target = `${folder}/floor${at}`;
    const { why } = await tried(build.compiler, build.flags(target));
    for (const [name, args] of Object.entries(build.programs)) {
      if (why !== undefined) leftOut.push(`${name} (${why})`);
      else programs[name] = (size) => inProgram(target, args(size));
    }
  }
  return {
    programs,
    leftOut,
    [Symbol.dispose]: () => Deno.removeSync(folder, { recursive: true }),
  };
}

function file(name: string): string {
  return decodeURIComponent(new URL(name, NATIVE).pathname);
}

/** What a program prints, and, if it did not succeed, why. */
async function tried(
  program: string,
  args: string[],
): Promise<{ text: string; why?: string }> {
  try {
    const output = await new Deno.Command(program, { args }).output();
    const [text, errors] = [output.stdout, output.stderr]
      .map((bytes) => new TextDecoder().decode(bytes));
    if (output.success) return { text };
    const line = errors.split("\n").find((line) =>
      /error|cannot find/.test(line)
    );
    const why = (line ?? errors).replace(/^.*?(error|ld): /, "").trim();
    return { text: "", why };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { text: "", why: `no ${program} here` };
  }
}
