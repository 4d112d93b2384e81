// A pool with its live picture on a port of this machine, for tests that look at it.

import { BlockPool } from "@smriti/pool";
import { type Dashboard, dashboard } from "../../examples/dashboard/mod.ts";

/** Small, and quick to shrink. Closes in order when disposed. */
export class Served implements AsyncDisposable {
  readonly pool = new BlockPool({
    name: "looked at",
    blockSize: 4096,
    maxBlocks: 200,
    initialBlocks: 20,
    shrinkStep: 0.3,
    shrinkIntervalMs: 200,
    backend: "auto",
  });
  readonly dashboard: Dashboard = dashboard(this.pool);
  readonly #server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) =>
      this.dashboard.handle(request) ??
        new Response("not found\n", { status: 404 }),
  );

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dashboard[Symbol.dispose]();
    await this.#server.shutdown();
    await this.pool.close();
  }
}
