// A Chromium that looks at a page, for tests and pictures. It must be on the machine already
// (tools/chromium.sh sees to that): without one such tests are ignored, loudly.

import { existsSync } from "node:fs";
import type { BrowserContextOptions } from "playwright-core";
import { hasPosixShell } from "./platform.ts"; // Wine shows a Chromium it cannot run

const executablePath = [
  Deno.env.get("CHROMIUM") ?? "/usr/bin/chromium",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
].find((path) => existsSync(path));

/** Whether there is a browser to test with. */
export const hasBrowser: boolean = executablePath !== undefined &&
  hasPosixShell;

if (!hasBrowser) console.warn("No Chromium: NO PAGE IS TESTED");

/** A page in a browser of its own, and the warnings and errors that come of it. */
export async function look(url: string, options?: BrowserContextOptions) {
  const { chromium } = await import("playwright-core");
  // Tests run as root, and in a closed network.
  const args = ["--no-sandbox", "--disable-background-networking"];
  const browser = await chromium.launch({ executablePath, args });
  const page = await browser.newPage(options);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (/error|warning/.test(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(url);
  return { page, complaints, [Symbol.asyncDispose]: () => browser.close() };
}
