// A Chromium for tests that look at a page. It must be on the machine already
// (tools/chromium.sh sees to that): without one such tests are ignored, loudly.

import type { Browser, BrowserContextOptions, Page } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const PLACES = [
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:/Program Files/Google/Chrome/Application/chrome.exe",
];

/** Tests run as root in a closed network: no sandbox then, and no calls home. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

const executablePath = find();

/** Whether there is a browser to test with. */
export const hasBrowser: boolean = executablePath !== undefined;

if (!hasBrowser) {
  console.warn(
    "\n*** No Chromium: the tests that look at a page are IGNORED. Run tools/chromium.sh. ***\n",
  );
}

/** A page in a browser of its own. Complains at its end of whatever the page complained of. */
export class Sight implements AsyncDisposable {
  /** What the page wrote to its console as a warning or worse, and errors that nobody caught. */
  readonly complaints: string[] = [];

  private constructor(readonly browser: Browser, readonly page: Page) {
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) {
        this.complaints.push(message.text());
      }
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.setDefaultTimeout(20_000);
  }

  static async of(
    url: string,
    options?: BrowserContextOptions,
  ): Promise<Sight> {
    const { chromium } = await import("playwright-core");
    const browser = await chromium.launch({ executablePath, args: FLAGS });
    const context = await browser.newContext(options);
    const sight = new Sight(browser, await context.newPage());
    await sight.page.goto(url);
    return sight;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.browser.close();
  }
}

function find(): string | undefined {
  const given = Deno.env.get("CHROMIUM");
  if (given) return given;
  const folders = Deno.env.get("PATH")?.split(":") ?? [];
  const paths = NAMES.flatMap((name) =>
    folders.map((folder) => `${folder}/${name}`)
  );
  return [...paths, ...PLACES].find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}
