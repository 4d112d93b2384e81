// The live picture in examples/dashboard/ as a person sees it, in headless Chromium: what it shows
// is so, its buttons work, keyboard and phone are enough, and no other site may press them.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { BlockPool } from "@smriti/pool";
import { dashboard } from "../../examples/dashboard/mod.ts";
import { hasBrowser, look } from "../support/browser.ts";

/** Asks again until `check` does not throw. The page is a fifth of a second behind the pool. */
async function soon(check: () => Promise<void>): Promise<void> {
  for (let left = 1_000; left > 0; left--) {
    if (await check().then(() => true, () => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await check();
}

/** Of two like `rgb(r, g, b)`, as the contrast rules for the web define it. */
function contrast(...colours: [string, string]): number {
  const [dark, light] = colours.map((colour) => {
    const [r, g, b] = colour.match(/\d+/g)!
      .map((part) => ((Number(part) + 14) / 269) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  }).sort((a, b) => a - b);
  return light / dark;
}

Deno.test({
  name: "the dashboard shows a pool as it is, and its buttons work",
  ignore: !hasBrowser,
  async fn(t) {
    const options = { blockSize: 4096, maxBlocks: 200, shrinkIntervalMs: 200 };
    await using pool = new BlockPool({ ...options, backend: "auto" });
    let picture = dashboard(pool);
    await using server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      (request) => picture.handle(request) ?? new Response("none of mine"),
    );
    using _ended = { [Symbol.dispose]: () => picture[Symbol.dispose]() };
    const url = `http://127.0.0.1:${server.addr.port}`;
    await using sight = await look(url);
    const { page } = sight;
    const says = (id: string, text: RegExp) =>
      soon(async () => assertMatch((await page.textContent(`#${id}`))!, text));
    /** Every number by its name, and the state whose shape each cell has. */
    const shown = () =>
      page.evaluate<[Record<string, number>, string[]]>(`[
        Object.fromEntries([...document.querySelectorAll("#stats div")]
          .map(({ firstChild, lastChild }) => [firstChild.textContent,
            Number(lastChild.textContent.replaceAll(",", ""))])),
        [...document.querySelectorAll("#map i")].map((cell) => cell.className)]`);
    const agrees = () =>
      soon(async () => {
        const states: string[] = Array.from(pool.slots(), ({ state }) => state);
        while (states.length < 200) states.push("uncommitted");
        const numbers = Object.entries(pool.stats())
          .filter(([, value]) => typeof value === "number");
        assertEquals(await shown(), [Object.fromEntries(numbers), states]);
      });

    await t.step("every number and every slot", async () => {
      const blocks = Array.from({ length: 50 }, () => pool.acquireSync());
      blocks[0].abandon();
      const settle = Promise.withResolvers<void>();
      const lent = blocks[2].lend(settle.promise);
      await agrees();
      await page.press("#slot", "ArrowRight");
      await says("under", /^slot 1: acquired$/);
      await page.press("#slot", "End");
      await says("under", /^slot 199: uncommitted$/);
      await page.hover("#map :nth-child(3)");
      await says("under", /^slot 2: lent$/);
      settle.resolve();
      await lent;
      for (const block of blocks) block[Symbol.dispose]();
      await agrees();
    });

    await t.step("the buttons, by keyboard", async () => {
      await page.press("#hold", "Space");
      await says("said", /^50 blocks held.$/);
      await agrees();
      await page.press("#hold", "Enter");
      await says("said", /^50 blocks released.$/);
      await page.press("#trim", "Enter");
      await says("said", /^\d+ bytes given back.$/);
      await page.press("#burst", "Enter");
      await says("said", /^A burst of 220 tasks began.$/);
      await soon(async () => assert((await shown())[0].waiting > 0));
      assertEquals(pool.stats().committedBlocks, 200);
      await soon(async () => assert((await shown())[0].committedBlocks < 99));
      await agrees();
      assertEquals(pool.stats().acquiredBlocks, 0);
    });

    await t.step("a phone, whatever its font, light and dark", async () => {
      const viewport = { width: 320, height: 640 };
      const options = { viewport, isMobile: true, bypassCSP: true };
      await using phone = await look(url, options);
      for (const colorScheme of ["light", "dark"] as const) {
        await phone.page.emulateMedia({ colorScheme });
        const colours = await phone.page.evaluate<string[]>(`["bg", "panel",
          "ink", "soft", "free", "acquired", "lent", "quarantined", "abandoned"]
          .map((name) => {
            document.body.style.color = "var(--" + name + ")";
            return getComputedStyle(document.body).color;
          })`);
        const [bg, panel, ink, soft, ...states] = colours;
        assertEquals(contrast(bg, "rgb(0, 0, 0)") < 2, colorScheme === "dark");
        assert(contrast(ink, bg) > 7);
        assert(contrast(soft, bg) > 4.5);
        for (const state of states) assert(contrast(state, panel) > 3);
      }
      for (const font of ["16px serif", "16px monospace", "32px monospace"]) {
        const content = `* { font: ${font} !important }`;
        await phone.page.addStyleTag({ content });
        const widths = "[document.documentElement.scrollWidth, innerWidth]";
        assertEquals(await phone.page.evaluate(widths), [320, 320], font);
      }
    });

    await t.step("no other site may press a button", async () => {
      const hold = async (site: string, origin: string) => {
        const init = { method: "POST", headers: { origin } };
        const request = new Request(`${site}/dashboard/hold`, init);
        return (await picture.handle(request))?.status;
      };
      assertEquals(await hold(url, "https://example.com"), 403);
      assertEquals(await hold(url, url.replace("127.0.0.1", "localhost")), 403);
      // A name that only points here: the browser takes it for the attacker's.
      assertEquals(await hold("http://a.example", "http://a.example"), 403);
      assertEquals(await hold(url, url), 200);
      assertEquals(pool.stats().acquiredBlocks, 50);
    });

    await t.step("a server that goes and comes back", async () => {
      picture[Symbol.dispose]();
      assertEquals(pool.stats().acquiredBlocks, 0);
      await says("link", /^connection lost/);
      picture = dashboard(pool);
      await says("link", /^live$/);
    });
    assertEquals(sight.complaints, []);
  },
});
