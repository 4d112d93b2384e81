// What observePool() gives a meter: Deno's own, exporting over the wire from a child; the real
// OpenTelemetry SDK's; and one that is none.

import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { deadline } from "@std/async";
import { MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import {
  BlockPool,
  type Histogram,
  type PoolStats,
  SizeClassPool,
  type SizeClassStats,
} from "@smriti/pool";
import { observePool, type PoolMeter } from "@smriti/pool/otel";
import { catchErrors } from "../support/console.ts";
import { canRunDeno } from "../support/platform.ts";

type Values = Record<string, number>;

/** Written out again here, so that a wrong line in otel/metrics.ts has nothing to hide behind. */
const EXPECTED: Record<
  string,
  [unit: string, monotonic: boolean | "gauge" | "histogram"]
> = {
  "smriti.pool.blocks": ["{block}", false],
  "smriti.pool.max_blocks": ["{block}", false],
  "smriti.pool.capacity_blocks": ["{block}", false],
  "smriti.pool.lent_blocks": ["{block}", false],
  "smriti.pool.reserved_blocks": ["{block}", false],
  "smriti.pool.peak_blocks": ["{block}", "gauge"],
  "smriti.pool.block_size": ["By", "gauge"],
  "smriti.pool.memory.committed": ["By", false],
  "smriti.pool.memory.abandoned": ["By", false],
  "smriti.pool.memory.mapped": ["By", false],
  "smriti.pool.waiting": ["{waiter}", false],
  "smriti.pool.acquires": ["{acquire}", true],
  "smriti.pool.releases": ["{release}", true],
  "smriti.pool.waits": ["{wait}", true],
  "smriti.pool.timeouts": ["{timeout}", true],
  "smriti.pool.exhaustions": ["{exhaustion}", true],
  "smriti.pool.grows": ["{grow}", true],
  "smriti.pool.shrinks": ["{shrink}", true],
  "smriti.pool.grow_failures": ["{failure}", true],
  "smriti.pool.leaks": ["{block}", true],
  "smriti.pool.double_releases": ["{release}", true],
  "smriti.pool.listener_errors": ["{error}", true],
  "smriti.pool.asked": ["By", true],
  "smriti.pool.wasted": ["By", true],
  "smriti.pool.upgrades": ["{upgrade}", true],
  "smriti.pool.wait": ["s", "histogram"],
  "smriti.pool.held": ["s", "histogram"],
};

/** What must be seen of a pool with these numbers. */
function valuesOf(stats: PoolStats | SizeClassStats): Values {
  const values: Values = {
    "blocks free": stats.freeBlocks,
    "blocks acquired": stats.acquiredBlocks,
    "blocks quarantined": stats.quarantinedBlocks,
    "blocks abandoned": stats.abandonedBlocks,
    "max_blocks": stats.maxBlocks,
    "capacity_blocks": stats.capacityBlocks,
    "lent_blocks": stats.lentBlocks,
    "reserved_blocks": stats.reservedBlocks,
    "peak_blocks": stats.peakAcquired,
    "block_size": stats.blockSize,
    "memory.committed": stats.committedBytes,
    "memory.abandoned": stats.abandonedBytes,
    "memory.mapped": stats.mappedBytes,
    "waiting": stats.waiting,
    "acquires": stats.acquires,
    "releases": stats.releases,
    "waits": stats.waits,
    "timeouts": stats.timeouts,
    "exhaustions": stats.exhaustions,
    "grows": stats.grows,
    "shrinks": stats.shrinks,
    "grow_failures": stats.growFailures,
    "leaks": stats.leaks,
    "double_releases": stats.doubleReleases,
    "listener_errors": stats.listenerErrors,
  };
  if ("askedBytes" in stats) {
    values["asked"] = stats.askedBytes;
    values["wasted"] = stats.wastedBytes;
    values["upgrades"] = stats.upgrades;
  }
  const shown = Object.fromEntries(
    Object.entries(values).map((
      [key, value],
    ) => [`${stats.name}: smriti.pool.${key}`, value]),
  );
  return { ...shown, ...durationsOf(stats) };
}

/** What must be seen of its durations: each bucket in which there are some. */
function durationsOf({ name, waitMs, heldMs }: PoolStats): Values {
  const values: Values = {};
  const all: [string, Histogram][] = [["wait", waitMs], ["held", heldMs]];
  for (const [metric, { bounds, counts }] of all) {
    putBuckets(
      values,
      `smriti.pool.${metric}`,
      { "smriti.pool.name": name },
      bounds.map((ms) => ms / 1000),
      counts,
    );
  }
  return values;
}

function allValuesOf(stats: readonly PoolStats[]): Values {
  return Object.assign({}, ...stats.map(valuesOf));
}

/** Puts a value under its metric, pool and state, where nothing else may be. */
function put(
  values: Values,
  name: string,
  attributes: Record<string, unknown>,
  value: number,
) {
  const { "smriti.pool.name": pool, "smriti.block.state": state, ...others } =
    attributes;
  assertEquals(others, {});
  const key = `${pool}: ${name}${state === undefined ? "" : ` ${state}`}`;
  assert(!(key in values), `${key} twice`);
  values[key] = value;
}

/** Puts each bucket of a histogram in which there is something. */
function putBuckets(
  values: Values,
  name: string,
  attributes: Record<string, unknown>,
  bounds: readonly number[],
  counts: readonly number[],
) {
  assertEquals(counts.length, bounds.length + 1);
  for (const [at, count] of counts.entries()) {
    const bucket = `${name} up to ${bounds[at] ?? Infinity} s`;
    if (count > 0) put(values, bucket, attributes, count);
  }
}

// deno-lint-ignore no-explicit-any -- OTLP as it came over the wire
type Otlp = any;

/** The values of this library in one export, each metric of the right kind and unit. */
function decode(body: Otlp): Values {
  const values: Values = {};
  for (const { scopeMetrics } of body.resourceMetrics) {
    for (const { scope, metrics } of scopeMetrics) {
      if (scope.name !== "@smriti/pool") continue;
      for (
        const { name, unit, description, sum, gauge, histogram } of metrics
      ) {
        const monotonic = gauge
          ? "gauge"
          : histogram
          ? "histogram"
          : sum.isMonotonic;
        assertEquals([unit, monotonic], EXPECTED[name], name);
        assert(/^[A-Z].*\.$/.test(description), description);
        if (sum) assertEquals(sum.aggregationTemporality, 2, "cumulative");
        for (const point of (sum ?? gauge ?? histogram).dataPoints) {
          const attributes = Object.fromEntries(
            point.attributes.map((
              { key, value }: Otlp,
            ) => [key, value.stringValue]),
          );
          if (histogram) {
            const { explicitBounds, bucketCounts } = point;
            const counts = bucketCounts.map(Number);
            putBuckets(values, name, attributes, explicitBounds, counts);
            continue;
          }
          put(
            values,
            name,
            attributes,
            point.asDouble ?? Number(point.asInt),
          );
        }
      }
    }
  }
  return values;
}

/** A receiver of OTLP over HTTP, as small as can be. */
class Receiver implements AsyncDisposable {
  #next = Promise.withResolvers<Otlp>();
  readonly #server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const body = await request.json();
      if (new URL(request.url).pathname === "/v1/metrics") {
        this.#next.resolve(body);
        this.#next = Promise.withResolvers();
      }
      return Response.json({});
    },
  );

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** The export after the one that may be on its way: one collected from now on. */
  async fresh(): Promise<Values> {
    await deadline(this.#next.promise, 20_000);
    return decode(await deadline(this.#next.promise, 20_000));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server.shutdown();
  }
}

Deno.test({
  name:
    "observePool() with Deno's telemetry exports stats() over OTLP until disposed",
  ignore: !canRunDeno,
  async fn() {
    await using receiver = new Receiver();
    await using child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        import.meta.resolve("./observe_child.ts"),
      ],
      env: {
        OTEL_DENO: "true",
        OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
        OTEL_METRIC_EXPORT_INTERVAL: "100",
      },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream());
    const reader = lines.getReader();
    const input = child.stdin.getWriter();
    const told = async () => JSON.parse((await reader.read()).value!);
    const step = () => input.write(new TextEncoder().encode("\n"));

    const busy: PoolStats[] = await told();
    assertEquals(busy.map(({ name }) => name), [
      'up "loads"\\',
      "smriti 64",
      "large",
    ]);
    const [{ acquiredBlocks, abandonedBlocks, lentBlocks, waiting }] = busy;
    // Numbers that differ from each other, or a mix-up would not be seen.
    assertEquals([acquiredBlocks, abandonedBlocks, lentBlocks, waiting], [
      8,
      1,
      1,
      1,
    ]);
    const [{ maxBlocks, capacityBlocks, abandonedBytes }] = busy;
    assertEquals([maxBlocks, capacityBlocks, abandonedBytes], [10, 9, 128]);
    assertEquals(await receiver.fresh(), allValuesOf(busy));

    await step();
    const idle: PoolStats[] = await told();
    assertEquals(await receiver.fresh(), allValuesOf(idle));

    await step();
    assertEquals(await told(), []);
    // Durations were told, and are not taken back.
    const past = Object.assign({}, ...idle.map(durationsOf));
    assert(Object.keys(past).length > 0);
    assertEquals(await receiver.fresh(), past);

    await step();
    await input.close();
    await reader.cancel();
    assert((await child.status).success);
  },
});

type SdkHistogram = {
  buckets: { boundaries: number[]; counts: number[] };
  sum: number;
};

/** A reader of the real SDK that collects when told. */
class Reader extends MetricReader {
  /** Sums of the histograms that were read last. */
  readonly sums: Record<string, number> = {};

  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }
  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
  async values(): Promise<Values> {
    const { resourceMetrics, errors } = await this.collect();
    assertEquals(errors, []);
    const values: Values = {};
    for (const { metrics } of resourceMetrics.scopeMetrics) {
      for (const { descriptor, dataPoints } of metrics) {
        assertEquals(descriptor.unit, EXPECTED[descriptor.name][0]);
        for (const { attributes, value } of dataPoints) {
          if (typeof value === "number") {
            put(values, descriptor.name, attributes, value);
            continue;
          }
          const { buckets, sum } = value as SdkHistogram;
          const { boundaries, counts } = buckets;
          putBuckets(values, descriptor.name, attributes, boundaries, counts);
          this.sums[`${attributes["smriti.pool.name"]}: ${descriptor.name}`] =
            sum;
        }
      }
    }
    return values;
  }
}

Deno.test("observePool() with the OpenTelemetry SDK's meter follows several pools", async () => {
  const reader = new Reader();
  const meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  using a = new BlockPool({ blockSize: 64, maxBlocks: 8, name: "a" });
  using b = new SizeClassPool([
    { blockSize: 64, maxBlocks: 8 },
    { blockSize: 256, maxBlocks: 8 },
  ]);
  using _a = observePool(a, meter);
  const ofB = observePool(b, meter);
  assertEquals(
    await reader.values(),
    allValuesOf([a.stats(), ...b.stats()]),
  );

  const block = a.acquireSync();
  using _block = b.tryAcquire(65)!;
  assertEquals(
    await reader.values(),
    allValuesOf([a.stats(), ...b.stats()]),
  );

  let asked = 0;
  const counted = observePool({ stats: () => (asked++, b.stats()) }, meter);
  await reader.values();
  assertEquals(asked, 1);
  counted[Symbol.dispose]();
  counted[Symbol.dispose](); // twice does no harm
  ofB[Symbol.dispose]();
  block.release();
  const values = await reader.values();
  assertEquals(asked, 1);
  // This SDK goes on showing the last values of what is gone; those of `a` are new.
  assertEquals(values, { ...values, ...valuesOf(a.stats()) });

  // And a pool can come back.
  using _b = observePool(b, meter);
  assertEquals(
    await reader.values(),
    allValuesOf([a.stats(), ...b.stats()]),
  );
});

/** A pool's stats() with these durations as its waits, in ms. */
function withWaits(stats: PoolStats, durations: readonly number[]): PoolStats {
  const { bounds } = stats.waitMs;
  const counts = new Array(bounds.length + 1).fill(0);
  for (const ms of durations) {
    const at = bounds.findIndex((bound) => ms <= bound);
    counts[at < 0 ? bounds.length : at]++;
  }
  const sum = durations.reduce((sum, ms) => sum + ms, 0);
  return { ...stats, waitMs: { bounds, counts, sum } };
}

Deno.test("observePool() records durations once, in their buckets and with their sum", async () => {
  const reader = new Reader();
  const meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8, name: "a" });
  const plain = pool.stats();
  const cases: number[][] = [
    [],
    [0],
    [1, 1, 1],
    [2],
    [1, 3, 7, 20, 800, 30_000],
    [60_000],
    [60_001],
    [5, 61_000, 3_600_000],
    Array.from({ length: 900 }, (_, at) => at),
  ];
  let all: number[] = [];
  const stats = () => withWaits(plain, all);
  const double = { stats };
  let observed = observePool(double, meter);
  for (const some of cases) {
    all = [...all, ...some];
    // It may be looked at anew in between: nothing is recorded twice.
    observed[Symbol.dispose]();
    observed = observePool(double, meter);
    for (let again = 0; again < 2; again++) {
      assertEquals(await reader.values(), allValuesOf([stats()]));
    }
    const { sum } = stats().waitMs;
    const shown = reader.sums["a: smriti.pool.wait"] ?? 0;
    // Seconds; a value of 1 ms may be shown as anything up to it.
    assertAlmostEquals(shown, sum / 1000, 0.001 * all.length + 1e-6 * sum);
  }
  observed[Symbol.dispose]();
});

Deno.test("observePool() believes the buckets where a sum does not fit them", async () => {
  const reader = new Reader();
  const meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8, name: "a" });
  let waited = withWaits(pool.stats(), []);
  using _metrics = observePool({ stats: () => waited }, meter);
  // As doubles may be rounded: what lies above a bound is not at it.
  for (const sum of [0, 3, 1e6]) {
    const { waitMs } = withWaits(waited, [2, 2, 60_001]);
    const { bounds, counts } = waited.waitMs;
    const more = counts.map((count, at) => count + waitMs.counts[at]);
    waited = { ...waited, waitMs: { bounds, counts: more, sum } };
    assertEquals(await reader.values(), allValuesOf([waited]));
  }
});

Deno.test("observePool() records a thousand durations at a time, and of more the shares", async () => {
  const reader = new Reader();
  const meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8, name: "a" });
  const waits = [
    ...new Array(500_000).fill(4),
    ...new Array(499_999).fill(9),
    50_000,
  ];
  const stats = withWaits(pool.stats(), waits);
  using _metrics = observePool({ stats: () => stats }, meter);
  const values = await reader.values();
  assertEquals(values["a: smriti.pool.wait up to 0.005 s"], 500);
  assertEquals(values["a: smriti.pool.wait up to 0.01 s"], 500);
  assertEquals(values["a: smriti.pool.wait up to 60 s"], 1);
});

Deno.test("observePool() takes a meter without histograms, and numbers without durations", async () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8, name: "a" });
  const reader = new Reader();
  const real = new MeterProvider({ readers: [reader] }).getMeter("test");
  // As written for the meter's type when it had five methods.
  const older: PoolMeter = {
    createObservableCounter: real.createObservableCounter.bind(real),
    createObservableUpDownCounter: real.createObservableUpDownCounter
      .bind(real),
    createObservableGauge: real.createObservableGauge.bind(real),
    addBatchObservableCallback: real.addBatchObservableCallback.bind(real),
    removeBatchObservableCallback: real.removeBatchObservableCallback
      .bind(real),
  };
  const waited = withWaits(pool.stats(), [1, 2, 3]);
  const numbers = valuesOf(pool.stats());
  {
    using _metrics = observePool({ stats: () => waited }, older);
    assertEquals(await reader.values(), numbers);
  }
  const { waitMs: _wait, heldMs: _held, ...before } = pool.stats();
  using _metrics = observePool({ stats: () => before as PoolStats }, real);
  assertEquals(await reader.values(), numbers);
});

Deno.test("observePool() of a closed pool shows that nothing is left", async () => {
  const reader = new Reader();
  const meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  const pool = new BlockPool({ blockSize: 64, maxBlocks: 8, name: "gone" });
  using _metrics = observePool(pool, meter);
  await pool.close();
  const values = await reader.values();
  assertEquals(values, valuesOf(pool.stats()));
  assertEquals(values["gone: smriti.pool.memory.mapped"], 0);
});

Deno.test("observePool() keeps an error of a stats() away from the meter, and shows it", async () => {
  const reader = new Reader();
  const meter = new MeterProvider({ readers: [reader] }).getMeter("test");
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8, name: "well" });
  const broken = {
    stats(): PoolStats {
      throw new Error("no numbers today");
    },
  };
  using _broken = observePool(broken, meter);
  using _metrics = observePool(pool, meter);
  using errors = catchErrors();
  assertEquals(await reader.values(), valuesOf(pool.stats()));
  assertStringIncludes(String(errors.lines), "no numbers today");
});

Deno.test("observePool() where telemetry is off observes nothing and does no harm", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
  let asked = 0;
  const watched = { stats: () => (asked++, pool.stats()) };
  using _metrics = observePool(watched);
  assertEquals(asked, 0);
});

Deno.test("observePool() refuses what is no pool or no meter, by name", () => {
  using pool = new BlockPool({ blockSize: 64, maxBlocks: 8 });
  for (const wrong of [undefined, null, 5, {}, { stats: 1 }]) {
    const error = assertThrows(() => observePool(wrong as never), TypeError);
    assertMatch(error.message, /^pool must be .*stats\(\), got /);
  }
  const { meterProvider } = Deno.telemetry;
  for (const wrong of [null, 5, {}, meterProvider]) {
    assertThrows(
      () => observePool(pool, wrong as unknown as PoolMeter),
      TypeError,
      "meter must be an OpenTelemetry meter with createObservableCounter(), got ",
    );
  }
});
