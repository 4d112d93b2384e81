/**
 * The floor in C and Go: native/floor.c beside several allocators, native/channel.go.
 */
import { inProgram, tried } from "../child.ts";
import { type Build, compile, native } from "../compile.ts";
import type { Shapes } from "../cases.ts";

/** What could be compiled, and what could not. */
export interface Floor extends Disposable {
  /** By name, how to run it at a block size. */
  readonly programs: Readonly<
    Record<string, (size: number) => Promise<Shapes>>
  >;
  readonly leftOut: readonly string[];
}

const DPDK_FLAGS =
  "--no-huge --no-pci --no-telemetry --no-shconf -l 0 -m 1400 --log-level=3 --"
    .split(" ");
const MALLOCS: Record<string, string[]> = {
  "C: glibc malloc": [],
  "C: mimalloc": ["-Wl,--no-as-needed", "-lmimalloc"],
  "C: jemalloc": ["-Wl,--no-as-needed", "-ljemalloc"],
};
const CACHES: Record<string, string> = {
  "C: DPDK rte_mempool, cached": "256",
  "C: DPDK rte_mempool, no cache": "0",
};
const GO = "Go: buffered channel";

/** What the program of a contestant is given to measure a block size. */
function argsOf(name: string, size: number): string[] {
  const cache = CACHES[name];
  const args = [String(size)];
  return cache === undefined ? args : [...DPDK_FLAGS, ...args, cache];
}

/** Compiles all of it. */
export async function compileFloor(): Promise<Floor> {
  const source = native("floor.c");
  const c = (...flags: string[]) => (target: string) => [
    "-O2",
    "-o",
    target,
    source,
    ...flags,
  ];
  const { text } = await tried("pkg-config", ["--cflags", "libdpdk"]);
  const dpdk = "-lrte_eal -lrte_mempool -lrte_ring".split(" ");
  const built = await compile([
    ...Object.entries(MALLOCS).map(([name, libraries]): Build => ({
      names: [name],
      compiler: "cc",
      flags: c(...libraries),
    })),
    {
      names: Object.keys(CACHES),
      compiler: "cc",
      flags: c("-DDPDK", ...text.split(/\s+/).filter(Boolean), ...dpdk),
    },
    {
      names: [GO],
      compiler: "go",
      flags: (target) => ["build", "-o", target, native("channel.go")],
    },
  ]);
  const programs = [...built.paths].map(([name, path]) =>
    [
      name,
      (size: number) => inProgram<Shapes>(path, argsOf(name, size)),
    ] as const
  );
  return {
    programs: Object.fromEntries(programs),
    leftOut: built.leftOut,
    [Symbol.dispose]: () => built[Symbol.dispose](),
  };
}
