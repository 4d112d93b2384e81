// What toPrometheus() prints, read by a parser that forgives nothing: a scrape is taken or refused
// as a whole, so one wrong character hides every pool.

import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { FakeTime } from "@std/testing/time";
import {
  BlockPool,
  type Histogram,
  type PoolStats,
  SizeClassPool,
} from "@smriti/pool";
import { toPrometheus } from "@smriti/pool/otel";

interface Sample {
  readonly name: string;
  readonly labels: Record<string, string>;
  readonly value: number;
}

interface Family {
  readonly help: string;
  readonly type: string;
  readonly samples: Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*/;
const VALUE = /^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

/** Reads version 0.0.4 of the text format as its description has it, and stricter. */
function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  if (text === "") return families;
  assert(text.endsWith("\n"), "the last line must end");
  const seen = new Set<string>();
  let current = "", help: string | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (HELP|TYPE) ([^ ]+) (.*)$/.exec(line);
    if (comment?.[1] === "HELP") {
      const [, , name, words] = comment;
      assertMatch(name, new RegExp(NAME.source + "$"));
      assert(!families.has(name), `${name}: one family only`);
      assert(!/\\(?![\\n])/.test(words), `${name}: a wrong escape`);
      assert(words.trim() !== "");
      [current, help] = [name, words];
    } else if (comment?.[1] === "TYPE") {
      const [, , name, type] = comment;
      assertEquals(name, current, "TYPE follows its HELP");
      assert(help !== undefined && !families.has(name));
      assert(["counter", "gauge", "histogram"].includes(type), type);
      assertEquals(name.endsWith("_total"), type === "counter", name);
      families.set(name, { help, type, samples: [] });
    } else {
      const { name, labels, value } = sample(line);
      const { type, samples } = families.get(current)!;
      const names = type === "histogram"
        ? ["_bucket", "_sum", "_count"].map((part) => current + part)
        : [current];
      assert(names.includes(name), `${name} stays with its family`);
      const series = JSON.stringify([name, Object.entries(labels).sort()]);
      assert(!seen.has(series), `${line}: twice`);
      seen.add(series);
      samples.push({ name, labels, value });
    }
  }
  for (const [name, { samples }] of families) {
    assert(samples.length > 0, `${name} is empty`);
  }
  return families;
}

/** One line `name{label="text",…} value`. */
function sample(line: string): Sample {
  let rest = line;
  const take = (pattern: RegExp | string): string => {
    const found = typeof pattern === "string"
      ? (rest.startsWith(pattern) ? pattern : undefined)
      : pattern.exec(rest)?.[0];
    if (found === undefined) {
      throw new Error(`${pattern} expected at ${rest} of ${line}`);
    }
    rest = rest.slice(found.length);
    return found;
  };
  const name = take(NAME);
  const labels: Record<string, string> = {};
  take("{");
  do {
    const label = take(LABEL);
    assert(!(label in labels) && !label.startsWith("__"), label);
    take('="');
    let text = "";
    while (!rest.startsWith('"')) {
      if (rest.startsWith("\\")) {
        const escape = take(/^\\[\\"n]/)[1];
        text += escape === "n" ? "\n" : escape;
      } else text += take(/^[^\n]/u);
    }
    take('"');
    labels[label] = text;
  } while (rest.startsWith(",") && take(","));
  take("} ");
  assertMatch(rest, VALUE, line);
  return { name, labels, value: Number(rest) };
}

/** A histogram of a pool as `stats()` has it, read from what is shown of it. */
function histogramOf(
  families: Map<string, Family>,
  family: string,
  pool: string,
): Histogram {
  const { type, samples } = families.get(family)!;
  assertEquals(type, "histogram");
  const own = samples.filter(({ labels }) => labels.smriti_pool_name === pool);
  const one = (suffix: string) => {
    const found = own.filter(({ name }) => name === family + suffix);
    assertEquals(found.length, 1);
    return found[0].value;
  };
  const buckets = own.filter(({ name }) => name === `${family}_bucket`);
  const edges = buckets.map(({ labels: { le } }) => le);
  assertEquals(edges.pop(), "+Inf");
  assertEquals(buckets.at(-1)!.value, one("_count"));
  // Each bucket has all that is in those below it.
  const counts = buckets.map(({ value }, at) =>
    value - (buckets[at - 1]?.value ?? 0)
  );
  assert(counts.every((count) => count >= 0));
  const ms = (seconds: number) => Math.round(seconds * 1000);
  return {
    bounds: edges.map((le) => ms(Number(le))),
    counts,
    sum: ms(one("_sum")),
  };
}

/** The one value of a pool that has these labels besides its name. */
function valueOf(
  families: Map<string, Family>,
  name: string,
  pool: string,
  others: Record<string, string> = {},
): number | undefined {
  const labels = { smriti_pool_name: pool, ...others };
  return families.get(name)?.samples.find((sample) =>
    JSON.stringify(sample.labels) === JSON.stringify(labels)
  )?.value;
}

/** Every number of `stats()` and where it must be found. */
const PLACES: Record<string, string> = {
  blockSize: "smriti_pool_block_size_bytes",
  maxBlocks: "smriti_pool_max_blocks",
  capacityBlocks: "smriti_pool_capacity_blocks",
  reservedBlocks: "smriti_pool_reserved_blocks",
  lentBlocks: "smriti_pool_lent_blocks",
  waiting: "smriti_pool_waiting",
  peakAcquired: "smriti_pool_peak_blocks",
  acquires: "smriti_pool_acquires_total",
  releases: "smriti_pool_releases_total",
  waits: "smriti_pool_waits_total",
  timeouts: "smriti_pool_timeouts_total",
  exhaustions: "smriti_pool_exhaustions_total",
  grows: "smriti_pool_grows_total",
  shrinks: "smriti_pool_shrinks_total",
  growFailures: "smriti_pool_grow_failures_total",
  leaks: "smriti_pool_leaks_total",
  doubleReleases: "smriti_pool_double_releases_total",
  listenerErrors: "smriti_pool_listener_errors_total",
  committedBytes: "smriti_pool_memory_committed_bytes",
  abandonedBytes: "smriti_pool_memory_abandoned_bytes",
  mappedBytes: "smriti_pool_memory_mapped_bytes",
  askedBytes: "smriti_pool_asked_bytes_total",
  wastedBytes: "smriti_pool_wasted_bytes_total",
  upgrades: "smriti_pool_upgrades_total",
};

const HISTOGRAMS: Record<string, string> = {
  waitMs: "smriti_pool_wait_seconds",
  heldMs: "smriti_pool_held_seconds",
};

const STATES: Record<string, string> = {
  freeBlocks: "free",
  acquiredBlocks: "acquired",
  quarantinedBlocks: "quarantined",
  abandonedBlocks: "abandoned",
};

/** Throws unless the text shows exactly these numbers. */
/** A name as it is shown. */
function shownOf(name: string): string {
  return name.toWellFormed().replaceAll(
    /[\p{Cc}\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu,
    (char) =>
      char === "\n"
        ? char
        : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function assertShows(text: string, ...pools: PoolStats[]): void {
  const families = parse(text);
  let shown = 0;
  for (const stats of pools) {
    for (const [field, value] of Object.entries(stats)) {
      if (field === "name" || field === "committedBlocks") continue;
      if (field in HISTOGRAMS) {
        const pool = shownOf(stats.name);
        const found = histogramOf(families, HISTOGRAMS[field], pool);
        assertEquals(found, value, `${field} of ${stats.name}`);
        shown += found.counts.length + 2;
        continue;
      }
      const state = STATES[field];
      const found = state === undefined
        ? valueOf(families, PLACES[field], shownOf(stats.name))
        : valueOf(families, "smriti_pool_blocks", shownOf(stats.name), {
          smriti_block_state: state,
        });
      assertEquals(found, value, `${field} of ${stats.name}`);
      shown++;
    }
  }
  const samples = [...families.values()].flatMap(({ samples }) => samples);
  assertEquals(samples.length, shown, "nothing else is shown");
}

Deno.test("toPrometheus() shows every number of a pool's stats()", () => {
  using pool = new BlockPool({ blockSize: 100, maxBlocks: 20 });
  assertShows(toPrometheus(pool.stats()), pool.stats());
  const blocks = Array.from({ length: 12 }, () => pool.acquireSync());
  blocks[0].abandon();
  blocks[1].release();
  blocks[2].release();
  assertThrows(() => blocks[2].release());
  assertShows(toPrometheus(pool.stats()), pool.stats());
  for (const block of blocks) block[Symbol.dispose]();
});

Deno.test("toPrometheus() shows waits and held leases as histograms in seconds", async () => {
  using time = new FakeTime();
  using pool = new BlockPool({
    blockSize: 64,
    maxBlocks: 1,
    leakDetection: "all",
    stallMs: Infinity,
  });
  for (const ms of [0, 1, 2, 3, 700, 60_000, 60_001]) {
    const block = pool.acquireSync();
    const next = pool.acquire();
    time.tick(ms);
    block.release();
    (await next).release();
  }
  const stats = pool.stats();
  assertShows(toPrometheus(stats), stats);
  const text = toPrometheus(stats);
  const label = 'smriti_pool_name="smriti"';
  for (
    const line of [
      `smriti_pool_wait_seconds_bucket{${label},le="0.001"} 2`,
      `smriti_pool_wait_seconds_bucket{${label},le="0.002"} 3`,
      `smriti_pool_wait_seconds_bucket{${label},le="0.5"} 4`,
      `smriti_pool_wait_seconds_bucket{${label},le="60"} 6`,
      `smriti_pool_wait_seconds_bucket{${label},le="+Inf"} 7`,
      `smriti_pool_wait_seconds_sum{${label}} 120.707`,
      `smriti_pool_wait_seconds_count{${label}} 7`,
      `smriti_pool_held_seconds_count{${label}} 14`,
    ]
  ) {
    assertStringIncludes(text, `${line}\n`);
  }
});

Deno.test("toPrometheus() takes the numbers of a double that knows no histograms", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const { waitMs: _wait, heldMs: _held, ...older } = pool.stats();
  const families = parse(toPrometheus(older as PoolStats));
  assertEquals(families.has("smriti_pool_wait_seconds"), false);
  assertEquals(valueOf(families, "smriti_pool_max_blocks", "smriti"), 1);
});

Deno.test("docs/alerts.md names metrics and labels that are there", async () => {
  const page = await Deno.readTextFile(
    new URL("../../docs/alerts.md", import.meta.url),
  );
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const text = toPrometheus(pool.stats());
  const named = new Set(page.match(/smriti_pool_\w+/g));
  assert(named.size >= 7, `${named.size} names`);
  // Shown once a pool counts it.
  const ahead = "capacityBlocks" in pool.stats()
    ? []
    : ["smriti_pool_capacity_blocks"];
  assertEquals([...named].filter((name) => !text.includes(name)), ahead);
  const { bounds } = pool.stats().waitMs;
  const prose = page.slice(page.indexOf("A histogram has the bounds"));
  const [, short, long] = /bounds ([\d, \n]+) ms and ([\d, \n]+) s,/.exec(
    prose,
  )!;
  const list = (text: string, unit: number) =>
    text.split(",").map((n) => unit * Number(n));
  assertEquals([...list(short, 1), ...list(long, 1_000)], bounds);
});

Deno.test("toPrometheus() of several pools has one family for each metric", () => {
  using a = new BlockPool({ blockSize: 100, maxBlocks: 20, name: "a" });
  using b = new BlockPool({ blockSize: 5000, maxBlocks: 7, name: "b" });
  using sized = new SizeClassPool([
    { blockSize: 64, maxBlocks: 4 },
    { blockSize: 4096, maxBlocks: 4 },
  ]);
  using _block = sized.tryAcquire(10)!;
  const stats = [a.stats(), b.stats(), ...sized.stats()];
  // An array as SizeClassPool gives it, or its entries: both will do.
  const text = toPrometheus(a.stats(), b.stats(), sized.stats());
  assertEquals(text, toPrometheus(...stats));
  assertShows(text, ...stats);
  assertEquals(
    parse(text).get("smriti_pool_asked_bytes_total")?.samples.map((
      { labels, value },
    ) => [labels.smriti_pool_name, value]),
    [["smriti 64", 10], ["smriti 4096", 0]],
  );
});

Deno.test("toPrometheus() escapes whatever a pool is called", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const stats = pool.stats();
  const names = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: fc.constantFrom("\\", '"', "\n", "n", ",", "}", " ") }),
  );
  fc.assert(fc.property(names, names, (one, other) => {
    fc.pre(shownOf(one) !== shownOf(other));
    const pools = [{ ...stats, name: one }, { ...stats, name: other }];
    assertShows(toPrometheus(...pools), ...pools);
  }));
});

Deno.test("toPrometheus() gives a terminal nothing to obey", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const named = (name: string) => ({ ...pool.stats(), name });
  const controls = String.fromCharCode(
    ...Array.from({ length: 160 }, (_, at) => at),
    ...[0x200e, 0x2028, 0x202e, 0x2066],
  );
  const text = toPrometheus(named(`a${controls}b`));
  assertEquals(text.replaceAll("\n", "").match(/[\p{Cc}\p{Cf}\p{Zl}]/gu), null);
  assertStringIncludes(text, "\\\\u001b");
  const both = ["a\x1b", "a\\u001b"].map(named);
  assertThrows(() => toPrometheus(...both), TypeError, "different names");
});

Deno.test("toPrometheus() refuses two pools of one name", () => {
  using a = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  using b = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  const error = assertThrows(
    () => toPrometheus(a.stats(), b.stats()),
    TypeError,
    'different names, got "smriti" twice',
  );
  assertStringIncludes(error.message, "stats");
});

Deno.test("toPrometheus() refuses by name what no stats() gave", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1 });
  for (
    const wrong of [undefined, null, 5, "x", {}, { name: 5 }, () => 1, pool]
  ) {
    for (const given of [wrong, [wrong], [pool.stats(), wrong]]) {
      assertThrows(
        () => toPrometheus(given as never),
        TypeError,
        "stats must be what stats() of a pool gave, got ",
      );
    }
  }
});

Deno.test("toPrometheus() of nothing is nothing", () => {
  assertEquals(toPrometheus(), "");
  assertEquals(toPrometheus([]), "");
});

Deno.test("the strict parser is strict", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 1, name: 'a"b' });
  const text = toPrometheus(pool.stats());
  const spoilers: ((text: string) => string)[] = [
    (text) => text.slice(0, -1),
    (text) => text + text,
    (text) => text.replaceAll('\\"', '"'),
    (text) => text.replace("# TYPE", "# KIND"),
    (text) => text.replace("} ", "}  "),
    (text) => text.replace(/ 64\n/, " 64 bytes\n"),
    (text) => text.replace(/# HELP .*\n/, ""),
    (text) => text.replaceAll("_total", ""),
    (text) => text.replace(/\n(smriti_pool_max.*\n)/, "\n$1$1"),
    (text) => text.replace(/\n(smriti_pool_max.*\n)([^]*)/, "\n$2$1"),
  ];
  parse(text);
  for (const spoil of spoilers) {
    assertThrows(() => parse(spoil(text)), Error, "", String(spoil));
  }
});
