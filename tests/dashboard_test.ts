// The live picture in examples/dashboard/ as a person sees it, in headless Chromium: that what it
// shows is so, that its buttons work, that it can be used by keyboard and on a phone.

import {
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import type { PoolStats } from "@smriti/pool";
import { hasBrowser, Sight } from "./support/browser.ts";
import { Served } from "./support/served.ts";
import "./support/open_library.ts";

function browserTest(
  name: string,
  fn: (served: Served) => Promise<void>,
): void {
  Deno.test({
    name,
    ignore: !hasBrowser,
    async fn() {
      await using served = new Served();
      await fn(served);
    },
  });
}

/** Asks again until `check` does not throw. The page is a fifth of a second behind the pool. */
async function soon(check: () => Promise<void>): Promise<void> {
  const end = performance.now() + 60_000;
  while (true) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Every number on the page that is one of `stats()`; shown twice, it must be the same twice. */
async function numbersOn({ page }: Sight): Promise<Record<string, number>> {
  const shown: [string, string][] = await page.evaluate(
    `[...document.querySelectorAll("[data-stat]")]
      .map((element) => [element.dataset.stat, element.textContent])`,
  );
  const numbers: Record<string, number> = {};
  for (const [field, text] of shown) {
    assertMatch(text, /^\d{1,3}(,\d{3})*$/, field);
    const number = Number(text.replaceAll(",", ""));
    assertEquals(numbers[field] ?? number, number, field);
    numbers[field] = number;
  }
  return numbers;
}

function numbersOf(stats: PoolStats): Record<string, number> {
  return Object.fromEntries(
    Object.entries(stats).filter(([, value]) => typeof value === "number"),
  );
}

/** Pixels of the slot map that have the colour of this name, to tell what is drawn. */
function pixels({ page }: Sight, colour: string): Promise<number> {
  return page.evaluate(`(() => {
    const map = document.getElementById("map");
    const copy = new OffscreenCanvas(map.width, map.height + 1);
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(map, 0, 1);
    context.fillStyle = getComputedStyle(document.documentElement)
      .getPropertyValue("--${colour}").trim();
    context.fillRect(0, 0, 1, 1);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    const [r, g, b] = data;
    let count = 0;
    for (let i = 4; i < data.length; i += 4) {
      if (data[i] === r && data[i + 1] === g && data[i + 2] === b) count++;
    }
    return count;
  })()`);
}

/** Moves the focus by keyboard alone until it is on the element with this id. */
async function tabTo({ page }: Sight, id: string): Promise<void> {
  for (let i = 0; i < 20; i++) {
    await page.keyboard.press("Tab");
    const [focused, outline] = await page.evaluate<[string, string]>(
      `[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]`,
    );
    assertEquals(outline, "solid", `the focus is seen on ${focused}`);
    if (focused === id) return;
  }
  throw new Error(`no way to ${id} by Tab`);
}

browserTest(
  "the page shows every number of stats(), and no other",
  async (served) => {
    const { pool } = served;
    const blocks = Array.from({ length: 50 }, () => pool.acquireSync());
    blocks[0].abandon();
    blocks[1].release();
    const settle = Promise.withResolvers<void>();
    const lent = blocks[2].lend(settle.promise);
    await using sight = await Sight.of(served.url);
    const { page } = sight;
    await soon(async () => {
      const stats = pool.stats();
      assertEquals(await numbersOn(sight), numbersOf(stats));
      assertEquals(
        await page.textContent("#uncommitted"),
        String(stats.maxBlocks - stats.committedBlocks),
      );
    });
    assertEquals(await page.textContent("h1"), "looked at");
    assertEquals(
      await page.textContent("#facts"),
      `200 blocks of 4 KiB, at most 800 KiB, ${pool.backend} memory`,
    );
    assertEquals(await page.textContent("#link"), "live");
    assertStringIncludes(await page.innerText("footer"), "127.0.0.1 only");
    const shownMib = Number(await page.textContent("#rss"));
    assertGreater(shownMib, 10);

    // Each state is drawn in its colour, and the pool's states alone.
    for (
      const [colour, isThere] of [
        ["acquired", true],
        ["lent", true],
        ["abandoned", true],
        ["free", true],
        ["uncommitted", true],
        ["quarantined", false],
      ] as const
    ) {
      assertEquals(await pixels(sight, colour) > 0, isThere, colour);
    }
    settle.resolve();
    await lent;
    for (const block of blocks) block[Symbol.dispose]();
    await soon(async () => {
      assertEquals(await pixels(sight, "lent"), 0);
      assertEquals(await numbersOn(sight), numbersOf(pool.stats()));
    });
    assertEquals(sight.complaints, []);
  },
);

browserTest(
  "a burst makes the picture grow, silence makes it shrink",
  async (served) => {
    const { pool } = served;
    await using sight = await Sight.of(served.url);
    const { page } = sight;
    const { committedBlocks } = pool.stats();
    await soon(async () => {
      assertEquals((await numbersOn(sight)).committedBlocks, committedBlocks);
    });
    assertEquals(await pixels(sight, "acquired"), 0);
    const uncommitted = await pixels(sight, "uncommitted");
    assertGreater(uncommitted, 0);

    await tabTo(sight, "burst");
    await page.keyboard.press("Enter");
    await soon(async () => {
      const shown = await numbersOn(sight);
      assertEquals(shown.committedBlocks, 200);
      assertGreater(shown.acquiredBlocks, 100);
      assertGreater(shown.waits, 0);
    });
    assertEquals(
      await page.textContent("#said"),
      "A burst of 220 tasks began.",
    );
    await soon(async () => {
      assertGreater(await pixels(sight, "acquired"), 0);
      assertEquals(await pixels(sight, "uncommitted"), 0);
      assertMatch(await page.innerText("#p99"), /^\d+\.\d ms$/);
    });

    await soon(async () => {
      assertEquals(pool.stats().committedBlocks, committedBlocks);
      assertEquals(await numbersOn(sight), numbersOf(pool.stats()));
      assertEquals(await pixels(sight, "acquired"), 0);
      assertEquals(await pixels(sight, "uncommitted"), uncommitted);
    });
    assertEquals(pool.stats().acquiredBlocks, 0);
    assertEquals(sight.complaints, []);
  },
);

browserTest(
  "hold and trim work by keyboard and say what they did",
  async (served) => {
    const { pool } = served;
    await using sight = await Sight.of(served.url);
    const { page } = sight;
    const pressed = () => page.getAttribute("#hold", "aria-pressed");
    const said = (text: string | RegExp) =>
      soon(async () =>
        assertMatch((await page.textContent("#said"))!, RegExp(text))
      );

    await tabTo(sight, "hold");
    await page.keyboard.press("Space");
    await said("^50 blocks held.$");
    assertEquals(pool.stats().acquiredBlocks, 50);
    await soon(async () => {
      assertEquals(await pressed(), "true");
      assertEquals(await numbersOn(sight), numbersOf(pool.stats()));
    });
    await page.keyboard.press("Space");
    await tabTo(sight, "trim");
    await page.keyboard.press("Enter");
    await said(/^(\d\.\d MiB given|Nothing to give) back.$/);
    assertEquals(pool.stats().acquiredBlocks, 0);
    assertEquals(pool.stats().committedBlocks, 20);
    await soon(async () => {
      assertEquals(await pressed(), "false");
      assertEquals(await numbersOn(sight), numbersOf(pool.stats()));
    });
    assertEquals(await page.getAttribute("#said", "aria-live"), "polite");
    assertEquals(sight.complaints, []);
  },
);

browserTest(
  "each slot can be looked at by keyboard and by pointer",
  async (served) => {
    using block = served.pool.acquireSync();
    await using sight = await Sight.of(served.url);
    const { page } = sight;
    const looks = (text: string) =>
      soon(async () => {
        assertEquals(await page.getAttribute("#map", "aria-valuetext"), text);
        assertEquals(await page.textContent("#under"), text);
      });
    await tabTo(sight, "map");
    await looks("slot 0: acquired");
    await page.keyboard.press("ArrowRight");
    await looks("slot 1: free");
    await page.keyboard.press("End");
    await looks("slot 199: uncommitted");
    await page.keyboard.press("Home");
    await looks("slot 0: acquired");
    block.release();
    await looks("slot 0: free");
    await page.hover("#map", { position: { x: 30, y: 4 } });
    await looks("slot 1: free");
    await page.mouse.move(0, 0);
    await page.evaluate("document.activeElement.blur()");
    await soon(async () =>
      assertStringIncludes((await page.textContent("#under"))!, "200 cells")
    );
  },
);

for (const colorScheme of ["light", "dark"] as const) {
  browserTest(
    `the page can be read on a phone (${colorScheme})`,
    async (served) => {
      using _block = served.pool.acquireSync();
      await using sight = await Sight.of(served.url, {
        colorScheme,
        viewport: { width: 320, height: 640 },
        deviceScaleFactor: 2,
        isMobile: true,
        hasTouch: true,
      });
      const { page } = sight;
      await soon(async () => assertGreater(await pixels(sight, "acquired"), 0));
      const [scroll, width] = await page.evaluate<[number, number]>(
        "[document.documentElement.scrollWidth, innerWidth]",
      );
      assertEquals([scroll, width], [320, 320]);
      for (const id of ["burst", "hold", "trim"]) {
        const box = (await page.locator(`#${id}`).boundingBox())!;
        assertGreaterOrEqual(box.height, 44, id);
        assertGreaterOrEqual(box.width, 44, id);
      }
      await page.tap("#hold");
      await soon(async () =>
        assertEquals(await page.getAttribute("#hold", "aria-pressed"), "true")
      );

      const colours = await page.evaluate<Record<string, string>>(`(() => {
      const style = getComputedStyle(document.documentElement);
      const names = ["bg", "panel", "ink", "soft", "acquired", "lent", "free",
        "quarantined", "abandoned"];
      return Object.fromEntries(names.map((name) =>
        [name, style.getPropertyValue("--" + name).trim()]));
    })()`);
      const { bg, panel, ink, soft, ...states } = colours;
      assertEquals(luminance(bg) < 0.2, colorScheme === "dark");
      for (const ground of [bg, panel]) {
        assertGreaterOrEqual(contrast(ink, ground), 7);
        assertGreaterOrEqual(contrast(soft, ground), 4.5);
      }
      for (const [state, colour] of Object.entries(states)) {
        assertGreaterOrEqual(contrast(colour, panel), 3, state);
      }
      assertEquals(sight.complaints, []);
    },
  );
}

browserTest(
  "the page says when the server is gone, and finds it again",
  async (served) => {
    await using sight = await Sight.of(served.url);
    const { page } = sight;
    await soon(async () =>
      assertEquals(await page.textContent("#link"), "live")
    );
    const events = `${served.url}dashboard/events`;
    await page.route(events, (route) => route.abort());
    // Ends the open stream; the next one does not come about.
    served.dashboard[Symbol.dispose]();
    await soon(async () =>
      assertStringIncludes(
        (await page.textContent("#link"))!,
        "connection lost",
      )
    );
    await page.unroute(events);
    await soon(async () =>
      assertEquals(await page.textContent("#link"), "live")
    );
  },
);

/** Relative luminance of `#rrggbb`, as the contrast rules for the web define it. */
function luminance(colour: string): number {
  assertMatch(colour, /^#[0-9a-f]{6}$/);
  const [r, g, b] = [1, 3, 5].map((at) => {
    const share = parseInt(colour.slice(at, at + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) =>
    a - b
  );
  return (light + 0.05) / (dark + 0.05);
}
