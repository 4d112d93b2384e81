/**
 * Takes docs/images/dashboard.png anew: the page of examples/dashboard.ts in a burst, after a minute
 * of ups and downs. Needs Chromium (tools/chromium.sh); looks best with Debian's fonts-inter.
 *
 *     deno run -A tools/screenshot.ts [FILE]
 */
import { setTimeout as delay } from "node:timers/promises";
import { look } from "../tests/support/browser.ts";

const [file = "docs/images/dashboard.png"] = Deno.args;
const PORT = "8642";

// A process of its own, or its memory would be the driver's; strict, so that quarantine is seen.
await using _server = new Deno.Command(Deno.execPath(), {
  args: ["run", "-A", "examples/dashboard.ts", "--strict", "--port", PORT],
}).spawn();
await delay(2_000);
await using sight = await look(`http://127.0.0.1:${PORT}/`, {
  viewport: { width: 1080, height: 856 },
  deviceScaleFactor: 1.5,
});
for (const id of ["burst", "hold", "burst", "hold", "trim", "burst"]) {
  await delay(9_000);
  await sight.page.click(`#${id}`);
}
await delay(700); // every state but the abandoned is there then
await sight.page.screenshot({ path: file });
