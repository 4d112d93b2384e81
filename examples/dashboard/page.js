// Brings the frames of the server onto the page, and the buttons to the server. What a number
// means is said in index.html; here it is only put in its place.

import { Chart } from "./chart.js";
import { drawCell, fit, SlotMap, theme } from "./slot_map.js";

const at = (id) => document.getElementById(id);
const MIB = 2 ** 20;

const map = new SlotMap(at("map"), at("under"));
const blocks = new Chart(at("blocks-chart"), "blocks", [
  { key: "limit", colour: "soft", dash: [5, 4], width: 1 },
  { key: "acquired", colour: "a", fill: true },
  { key: "committed", colour: "ink" },
]);
const memory = new Chart(at("memory-chart"), "MiB", [
  { key: "RSS", colour: "ink" },
  { key: "heap", colour: "soft", width: 1 },
  { key: "external", colour: "a", dash: [2, 3] },
]);
const waiting = new Chart(at("waiting-chart"), "acquires", [
  { key: "waiting", colour: "ink" },
]);
const waits = new Chart(at("p99-chart"), "ms", [
  { key: "p99", colour: "ink" },
  { key: "median", colour: "a", dash: [2, 3] },
]);
const charts = [blocks, memory, waiting, waits];
const numbers = document.querySelectorAll("[data-stat]");

function show(frame) {
  const { atMs, stats, rssBytes, heapBytes, externalBytes } = frame;
  at("name").textContent = stats.name;
  document.title = `${stats.name}: live pool`;
  at("facts").textContent = `${count(stats.maxBlocks)} blocks of ${
    size(stats.blockSize)
  }, at most ${
    size(stats.maxBlocks * stats.blockSize)
  }, ${frame.backend} memory`;
  for (const element of numbers) {
    put(element, count(stats[element.dataset.stat]));
  }
  put(at("uncommitted"), count(stats.maxBlocks - stats.committedBlocks));
  put(at("committed-size"), size(stats.committedBytes));
  put(at("acquired-size"), size(stats.acquiredBlocks * stats.blockSize));
  put(at("rss"), mib(rssBytes));
  put(at("heap"), mib(heapBytes));
  put(at("external"), mib(externalBytes));
  const { count: waited, p50Ms, p99Ms } = frame.waits;
  put(at("p99"), waited === 0 ? "none" : `${p99Ms.toFixed(1)} ms`);
  put(at("p50"), waited === 0 ? "none" : `${p50Ms.toFixed(1)} ms`);
  at("hold").setAttribute("aria-pressed", String(frame.load.held > 0));
  put(
    at("hold").querySelector("b"),
    frame.load.held > 0 ? "Let go" : "Hold",
  );
  put(
    at("hold").querySelector("span"),
    frame.load.held > 0 ? `${frame.load.held} held` : "a quarter",
  );

  map.update(frame.slots);
  blocks.add(atMs, {
    limit: stats.maxBlocks,
    committed: stats.committedBlocks,
    acquired: stats.acquiredBlocks,
  });
  memory.add(atMs, {
    RSS: rssBytes / MIB,
    heap: heapBytes / MIB,
    external: externalBytes / MIB,
  });
  waiting.add(atMs, { waiting: stats.waiting });
  // Where nobody waited there is no line: it would say that waits took no time.
  waits.add(
    atMs,
    waited === 0 ? { p99: null, median: null } : { p99: p99Ms, median: p50Ms },
  );
}

/** Text that has not changed is left alone: whoever reads or selects it is not disturbed. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function count(number) {
  return number.toLocaleString("en");
}

function mib(bytes) {
  return (bytes / MIB).toFixed(1);
}

function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes.toLocaleString("en", { maximumFractionDigits: 1 })} ${
    units[unit]
  }`;
}

function link(state, text) {
  at("link").dataset.state = state;
  put(at("link"), text);
  document.body.toggleAttribute("data-stale", state === "lost");
}

const frames = new EventSource("/dashboard/events");
frames.onmessage = ({ data }) => {
  link("live", "live");
  show(JSON.parse(data));
};
frames.onerror = () => link("lost", "connection lost, trying again");

for (const action of ["burst", "hold", "trim"]) {
  at(action).addEventListener("click", async () => {
    try {
      const answer = await fetch(`/dashboard/${action}`, { method: "POST" });
      at("said").textContent = (await answer.json()).done;
    } catch {
      at("said").textContent = "The server did not answer.";
    }
  });
}

function drawLegend() {
  const colours = theme();
  for (const canvas of document.querySelectorAll("canvas[data-state]")) {
    const context = fit(canvas, 14, 14);
    drawCell(context, canvas.dataset.state, 0, 0, 14, colours);
  }
}

drawLegend();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawLegend();
  map.draw();
  for (const chart of charts) chart.draw();
});
