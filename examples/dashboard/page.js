// Puts the frames of the server onto the page, and sends it what the buttons ask for. What there
// is to draw is said by the server; colours and shapes are in style.css.

const SPAN_MS = 60_000;
const MOST_CELLS = 2048;
/** A cell that stands for several slots shows the last of these. */
const STATES = "uncommitted,free,acquired,lent,quarantined,abandoned"
  .split(",");

const at = (id) => document.getElementById(id);
const [map, range] = [at("map"), at("slot")];
let slots = [], perCell = 1;
let looked; // the slot that pointer or keyboard look at

function show({ atMs, stats, backend, charts, ...frame }) {
  put(at("name"), stats.name);
  const blocks = `${count(stats.maxBlocks)} × ${count(stats.blockSize)} bytes`;
  put(at("about"), `${blocks} of ${backend} memory`);
  // What was never committed is not listed.
  const rest = Math.max(0, stats.maxBlocks - frame.slots.length);
  slots = [...frame.slots, ...Array(rest).fill("uncommitted")];
  showSlots();
  for (const [title, values] of Object.entries(charts)) {
    showChart(title, atMs, Object.entries(values));
  }
  for (const [name, value] of Object.entries(stats)) {
    if (typeof value !== "number") continue;
    const term = child("stats", "div", name, `<dt>${name}</dt><dd></dd>`);
    put(term.lastChild, count(value));
  }
}

function showSlots() {
  perCell = Math.ceil(slots.length / MOST_CELLS);
  const cells = Math.ceil(slots.length / perCell);
  if (map.childElementCount !== cells) map.innerHTML = "<i></i>".repeat(cells);
  const side = Math.sqrt(map.clientWidth * 200 / cells);
  map.style.fontSize = `${Math.max(5, Math.min(20, side))}px`;
  [...map.children].forEach((cell, i) => {
    const own = slots.slice(i * perCell, (i + 1) * perCell);
    const state = STATES.findLast((state) => own.includes(state));
    if (cell.className !== state) cell.className = state;
    cell.toggleAttribute("data-looked", i === Math.floor(looked / perCell));
  });
  for (const state of STATES) {
    const html = `<i class="${state}"></i> ${state} <b></b>`;
    const number = slots.filter((other) => other === state).length;
    put(child("legend", "li", state, html).lastChild, count(number));
  }
  const text = looked === undefined
    ? `${count(slots.length)}, ${perCell === 1 ? "one" : perCell} to a cell`
    : `slot ${looked}: ${slots[looked]}`;
  put(at("under"), text);
  range.max = slots.length - 1;
  range.ariaValueText = text;
}

function look(slot) {
  looked = slot;
  showSlots();
}

/** Adds the values to those of the chart's last minute, and draws them. */
function showChart(title, now, entries) {
  const terms = entries.map(([name]) => `<div><dt>${name}<dd></div>`).join("");
  const html = `<h2>${title}</h2><dl>${terms}</dl><p></p>
    <svg viewBox="0 0 600 100" preserveAspectRatio="none">
    ${"<path/>".repeat(entries.length)}</svg><p>the last minute</p>`;
  const section = child("charts", "section", title, html);
  // After the server was started anew its clock begins again.
  const past = section.points?.filter(([atMs]) => atMs < now) ?? [];
  const values = entries.map(([, value]) => value);
  const points = section.points = [...past, [now, ...values]];
  // One point beyond the edge stays: the line enters the picture from it.
  while (points[1]?.[0] < now - SPAN_MS) points.shift();
  const top = nice(Math.max(10, ...points.flatMap((point) => point.slice(1))));
  put(section.querySelector("p"), count(top));
  values.forEach((value, i) => {
    put(section.querySelectorAll("dd")[i], count(value));
    // Steps, not slopes: nothing is known of what is between two frames.
    const line = points.map((point) =>
      `H${600 - (now - point[0]) / 100}V${100 - point[i + 1] / top * 100}`
    ).join("").replace("H", "M").replace("V", " ");
    section.querySelectorAll("path")[i].setAttribute("d", line);
  });
}

/** The next number above that a person finds round. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].find((n) => n * power >= value) * power;
}

function count(number) {
  return number.toLocaleString("en", { maximumFractionDigits: 1 });
}

/** Text that has not changed is left alone, and so is a selection in it. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The element of that list for this key, made when it is first asked for. */
function child(list, tag, key, html) {
  const id = `${list}: ${key}`;
  if (at(id) === null) {
    at(list).append(Object.assign(document.createElement(tag), { id }));
    at(id).innerHTML = html;
  }
  return at(id);
}

map.onpointermove = ({ target }) => {
  const cell = [...map.children].indexOf(target);
  if (cell >= 0) look(cell * perCell);
};
map.onpointerleave = range.onblur = () => look(undefined);
range.oninput = range.onfocus = () => look(range.valueAsNumber);

for (const button of document.querySelectorAll("button")) {
  button.onclick = () =>
    fetch(`/dashboard/${button.id}`, { method: "POST" })
      .then((answer) => answer.text())
      .catch(String)
      .then((text) => put(at("said"), text));
}

const frames = new EventSource("/dashboard/events");
frames.onmessage = ({ data }) => {
  put(at("link"), "live");
  show(JSON.parse(data));
};
frames.onerror = () => put(at("link"), "connection lost, trying again");
