// Draws every slot of a pool as a cell of one canvas, from a few dozen to many thousands, and lets
// pointer and arrow keys ask for one of them. Knows states by letter; counts nothing.

/** Letter in a frame: the state's name, and how important it is where cells stand for several. */
const STATES = {
  u: { name: "uncommitted", rank: 0 },
  f: { name: "free", rank: 1 },
  a: { name: "acquired", rank: 2 },
  l: { name: "lent", rank: 3 },
  q: { name: "quarantined", rank: 4 },
  x: { name: "abandoned", rank: 5 },
};

const LARGEST_PITCH = 24;
/** Below this a cell is a coloured dot; above, shapes can be told apart. */
const SHAPE_PITCH = 9;
const SMALLEST_PITCH = 5;
const MOST_HEIGHT = 330;

/** The colours of the theme in force, as theme.css has them. */
export function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: colour("ink"),
    soft: colour("soft"),
    panel: colour("panel"),
    grid: colour("grid"),
    a: colour("acquired"),
    l: colour("lent"),
    f: colour("free"),
    fill: colour("free-fill"),
    q: colour("quarantined"),
    x: colour("abandoned"),
    u: colour("uncommitted"),
  };
}

/** Makes a canvas as fine as the screen, and gives a context that draws in CSS pixels. */
export function fit(canvas, width, height) {
  const ratio = Math.max(1, globalThis.devicePixelRatio);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

/** Draws one cell of `size` pixels: each state has a shape of its own besides its colour. */
export function drawCell(context, state, x, y, size, colours) {
  context.fillStyle = context.strokeStyle = colours[state];
  context.lineWidth = size < 12 ? 1 : 1.5;
  const half = context.lineWidth / 2;
  const radius = size < 8 ? 0 : 2;
  const square = () => {
    context.beginPath();
    context.roundRect(x, y, size, size, radius);
    context.fill();
  };
  const outline = () => {
    const inner = size - 2 * half;
    context.beginPath();
    context.roundRect(x + half, y + half, inner, inner, radius);
    context.stroke();
  };
  const lines = (...points) => {
    context.beginPath();
    for (const [x1, y1, x2, y2] of points) {
      context.moveTo(x + x1 * size, y + y1 * size);
      context.lineTo(x + x2 * size, y + y2 * size);
    }
    context.stroke();
  };
  switch (state) {
    case "u": { // a dot
      const dot = Math.max(1.5, size / 5);
      context.fillRect(x + (size - dot) / 2, y + (size - dot) / 2, dot, dot);
      break;
    }
    case "f": // an empty square
      context.fillStyle = colours.fill;
      square();
      outline();
      break;
    case "a": // a full square
      square();
      break;
    case "l": { // a full square with a hole: somebody else is at work inside
      square();
      const hole = Math.round(size * 0.36);
      const at = (size - hole) / 2;
      context.fillStyle = colours.panel;
      context.fillRect(x + at, y + at, hole, hole);
      break;
    }
    case "q": // hatched
      outline();
      lines([0, 0.5, 0.5, 0], [0, 1, 1, 0], [0.5, 1, 1, 0.5]);
      break;
    case "x": // crossed out
      context.lineWidth = size < 12 ? 1.5 : 2;
      lines([0.08, 0.08, 0.92, 0.92], [0.08, 0.92, 0.92, 0.08]);
      break;
  }
}

/** `a3f12` as one letter a slot. */
function expand(runs) {
  return runs.replaceAll(
    /([a-z])(\d+)/g,
    (_, letter, count) => letter.repeat(Number(count)),
  );
}

export class SlotMap {
  #canvas;
  #told;
  #slots = "";
  #layout = { columns: 1, pitch: LARGEST_PITCH, perCell: 1, cells: 0 };
  #cursor = 0;
  /** Whether somebody looks at a slot: by pointer or by keyboard. */
  #looking = false;

  /** Draws on `canvas`; tells of the slot looked at in `told`. */
  constructor(canvas, told) {
    this.#canvas = canvas;
    this.#told = told;
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    canvas.addEventListener("pointerdown", (event) => this.#point(event));
    canvas.addEventListener("pointerleave", () => this.#look(false));
    canvas.addEventListener(
      "focus",
      () => this.#look(canvas.matches(":focus-visible")),
    );
    canvas.addEventListener("blur", () => this.#look(false));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Shows these slots, as a frame tells them. */
  update(runs) {
    const slots = expand(runs);
    if (slots === this.#slots) return;
    this.#slots = slots;
    this.draw();
  }

  draw() {
    const width = this.#canvas.clientWidth;
    if (width === 0 || this.#slots === "") return;
    const layout = this.#layout = arrange(this.#slots.length, width);
    const { columns, pitch, cells } = layout;
    const height = Math.ceil(cells / columns) * pitch;
    this.#canvas.style.height = `${height}px`;
    const context = fit(this.#canvas, width, height);
    const colours = theme();
    const size = pitch - gapAt(pitch);
    for (let cell = 0; cell < cells; cell++) {
      const x = cell % columns * pitch;
      const y = Math.floor(cell / columns) * pitch;
      drawCell(context, this.#stateOf(cell), x, y, size, colours);
    }
    if (this.#looking) {
      const cell = Math.floor(this.#cursor / layout.perCell);
      context.strokeStyle = colours.ink;
      context.lineWidth = 2;
      const x = cell % columns * pitch, y = Math.floor(cell / columns) * pitch;
      context.strokeRect(x - 1, y - 1, size + 2, size + 2);
    }
    this.#tell();
  }

  /** Where a cell stands for several slots it shows the one that matters most. */
  #stateOf(cell) {
    const { perCell } = this.#layout;
    if (perCell === 1) return this.#slots[cell];
    let state = "u";
    for (
      const other of this.#slots.slice(cell * perCell, (cell + 1) * perCell)
    ) {
      if (STATES[other].rank > STATES[state].rank) state = other;
    }
    return state;
  }

  #tell() {
    const count = this.#slots.length;
    const { perCell } = this.#layout;
    const state = STATES[this.#slots[this.#cursor]]?.name ?? "";
    const slot = `slot ${this.#cursor}: ${state}`;
    this.#canvas.setAttribute("aria-valuemax", String(count - 1));
    this.#canvas.setAttribute("aria-valuenow", String(this.#cursor));
    this.#canvas.setAttribute("aria-valuetext", slot);
    this.#told.textContent = this.#looking
      ? slot
      : perCell === 1
      ? `${count.toLocaleString("en")} cells, one for each; slot 0 is top left`
      : `${count.toLocaleString("en")} slots, ${perCell} to a cell`;
  }

  #look(looking) {
    this.#looking = looking;
    this.draw();
  }

  #move(slot) {
    this.#cursor = Math.max(0, Math.min(this.#slots.length - 1, slot));
    this.#look(true);
  }

  #point({ offsetX, offsetY }) {
    const { columns, pitch, perCell } = this.#layout;
    const column = Math.min(columns - 1, Math.floor(offsetX / pitch));
    this.#move((Math.floor(offsetY / pitch) * columns + column) * perCell);
  }

  #key(event) {
    const { columns, perCell } = this.#layout;
    const row = columns * perCell;
    const to = {
      ArrowRight: this.#cursor + perCell,
      ArrowLeft: this.#cursor - perCell,
      ArrowDown: this.#cursor + row,
      ArrowUp: this.#cursor - row,
      PageDown: this.#cursor + 5 * row,
      PageUp: this.#cursor - 5 * row,
      Home: 0,
      End: this.#slots.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#move(to);
  }
}

/** Space between cells `pitch` pixels apart. */
function gapAt(pitch) {
  return pitch < SHAPE_PITCH ? 1 : Math.max(2, Math.round(pitch / 7));
}

/** The largest cells with which all slots fit; when even the smallest do not, several share one. */
function arrange(slots, width) {
  const columnsAt = (pitch) =>
    Math.max(1, Math.floor((width + gapAt(pitch)) / pitch));
  const heightAt = (pitch) => Math.ceil(slots / columnsAt(pitch)) * pitch;
  let pitch = LARGEST_PITCH;
  while (pitch > SMALLEST_PITCH && heightAt(pitch) > MOST_HEIGHT) pitch--;
  // A little smaller may fill the width better, and then the picture's edges meet the text's.
  const unfilled = (pitch) => width + gapAt(pitch) - columnsAt(pitch) * pitch;
  const from = Math.max(SMALLEST_PITCH, Math.ceil(pitch * 0.8));
  for (let other = pitch - 1; other >= from; other--) {
    if (unfilled(other) < unfilled(pitch)) pitch = other;
  }
  const columns = columnsAt(pitch);
  const capacity = columns * Math.floor(MOST_HEIGHT / pitch);
  const perCell = Math.max(1, Math.ceil(slots / capacity));
  return { columns, pitch, perCell, cells: Math.ceil(slots / perCell) };
}
