/**
 * Takes docs/images/dashboard.png anew: the page of examples/dashboard.ts in the middle of a
 * burst, after a minute of ups and downs. Needs Chromium (tools/chromium.sh), and looks best with
 * the Inter typeface installed (Debian's fonts-inter).
 *
 * deno run -A tools/screenshot.ts [FILE] [light|dark]
 */

import { setTimeout as delay } from "node:timers/promises";
import { Sight } from "../tests/support/browser.ts";

const [file = "docs/images/dashboard.png", colorScheme = "light"] = Deno.args;

// In a process of its own, or its memory would be that of the browser's driver.
const child = new Deno.Command(Deno.execPath(), {
  // Strict, so that there is a quarantine to be seen.
  args: [
    "run",
    "-A",
    import.meta.resolve("../examples/dashboard.ts"),
    "--strict",
  ],
  stdout: "piped",
}).spawn();
await using _ended = {
  async [Symbol.asyncDispose]() {
    child.kill("SIGINT");
    await child.status;
  },
};
const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
const { value: line = "" } = await lines.read();
const [url] = /http:\/\/\S+/.exec(line) ?? [];
if (url === undefined) throw new Error(`no address in ${line}`);

{
  await using sight = await Sight.of(url, {
    colorScheme: colorScheme === "dark" ? "dark" : "light",
    viewport: { width: 1080, height: 1000 },
    deviceScaleFactor: 1.5,
  });
  const { page } = sight;
  const press = async (id: string, thenMs: number) => {
    await page.press(`#${id}`, "Enter");
    await delay(thenMs);
  };
  await delay(5_000);
  await press("burst", 11_000);
  await press("hold", 5_000);
  await press("burst", 9_000);
  await press("hold", 7_000);
  await press("trim", 5_000);
  await press("burst", 9_000);
  await press("hold", 2_500);
  const charts = (await page.locator(".charts").boundingBox())!;
  const height = Math.round(charts.y + charts.height + 12);
  // Seen while it begins: every state but the abandoned is there then.
  await press("burst", 0);
  await page.evaluate("document.activeElement.blur()");
  const lent = page.locator("[data-stat=lentBlocks]");
  while (Number(await lent.textContent()) < 25) await delay(10);
  await page.screenshot({
    path: file,
    fullPage: true,
    clip: { x: 0, y: 0, width: 1080, height },
  });
}
await lines.cancel();
