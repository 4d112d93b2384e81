/**
 * How the server of a contestant is started: one of servers.ts on this Deno, the same on a tuned
 * Deno, or that of another runtime. What is not installed is left out, with the reason.
 */
import { denoOf, type Program, tried } from "../child.ts";
import { compile, leftOutText, native } from "../compile.ts";
import { tuned, tunedName } from "../tuned.ts";

const SERVERS = import.meta.resolve("./servers.ts");
/** Where `native/setup.sh` puts what npm has. */
const FETCHED = new URL(
  "../../.ci/.tools/runtimes/node_modules/.bin/",
  import.meta.url,
);

/** A program, and its first arguments for a kind of server; none if it has no such server. */
interface Runtime {
  readonly path: string;
  readonly argsOf: (kind: string) => string[];
}

/** Splicing is for what passes through. */
const GO: Record<string, Runtime["argsOf"]> = {
  "Go, sync.Pool": (kind) => [kind],
  "Go, splice": (kind) => kind === "proxy" ? ["splice"] : [],
};

/** Starts servers; compiled programs go away when it is disposed of. */
export interface Starter extends Disposable {
  /** The program of a contestant; `kind` and `args` as servers.ts takes them. */
  readonly program: (
    kind: string,
    contestant: string,
    ...args: string[]
  ) => Program;
  /** The contestants of other runtimes that are here and serve this. */
  readonly runtimes: (kind: string) => string[];
  /** A contestant, and the same tuned. */
  readonly withTuned: (contestant: string) => string[];
  /** What is not installed, and the versions of what is. */
  readonly notes: readonly string[];
}

/** Looks for what is here. */
export async function starter(): Promise<Starter> {
  const own = await tuned();
  const built = await compile([{
    names: Object.keys(GO),
    compiler: "go",
    flags: (target) => ["build", "-o", target, native("server.go")],
  }]);
  const runtimes = new Map<string, Runtime>();
  const versions = [];
  for (const [name, path] of built.paths) {
    runtimes.set(name, { path, argsOf: (kind) => GO[name](kind) });
  }
  if (built.paths.size > 0) {
    versions.push((await tried("go", ["version"])).text);
  }
  const leftOut = [...own.leftOut, ...built.leftOut];
  for (const [name, command] of [["Node", "node"], ["Bun", "bun"]]) {
    const { path, version, why } = await found(command);
    if (why !== undefined) leftOut.push(`${name} (${why})`);
    else {
      const script = native(`server.${command}.mjs`);
      runtimes.set(name, { path, argsOf: (kind) => [script, kind] });
      versions.push(`${name} ${version}`);
    }
  }
  const v8Flags = ["--trace-gc"];
  const programs = new Map(
    Object.entries(own.tunings).map(([key, tuning]) =>
      [key, {
        ...tuning,
        v8Flags: [...v8Flags, ...tuning.v8Flags ?? []],
      }] as const
    ),
  );
  return {
    program(kind, contestant, ...args) {
      const other = runtimes.get(contestant);
      if (other !== undefined) {
        return { path: other.path, args: [...other.argsOf(kind), ...args] };
      }
      for (const [key, tuning] of programs) {
        const end = tunedName("", key);
        if (!contestant.endsWith(end)) continue;
        const plain = contestant.slice(0, -end.length);
        return denoOf(SERVERS, [kind, plain, ...args], tuning);
      }
      return denoOf(SERVERS, [kind, contestant, ...args], { v8Flags });
    },
    runtimes: (kind) =>
      [...runtimes].filter(([, { argsOf }]) => argsOf(kind).length > 0)
        .map(([name]) => name),
    withTuned: (contestant) => [
      contestant,
      ...[...programs.keys()].map((key) => tunedName(contestant, key)),
    ],
    notes: [
      `Other runtimes: ${versions.map((text) => text.trim()).join(", ")}.`,
      leftOutText(leftOut),
    ],
    [Symbol.dispose]() {
      built[Symbol.dispose]();
      own[Symbol.dispose]();
    },
  };
}

/** A runtime: as `native/setup.sh` installs it, or in the PATH. */
async function found(command: string) {
  const fetched = decodeURIComponent(new URL(command, FETCHED).pathname);
  const first = await tried(fetched, ["--version"]);
  const path = first.why === undefined ? fetched : command;
  const { text, why } = await tried(path, ["--version"]);
  return { path, version: text.trim(), why };
}
