// Draws numbers over the last minute on a canvas: a few lines, a quiet grid, units. Keeps the
// points it was given for that minute and nothing else.

import { fit, theme } from "./slot_map.js";

const SPAN_MS = 60_000;
/** Less than this would make a mountain of one. */
const SMALLEST_TOP = 10;
const TOP = 14;
const BOTTOM = 16;

export class Chart {
  #canvas;
  #series;
  #unit;
  #points = [];

  /**
   * `series` are `{ key, colour, dash, fill }`: the value's name in a point, its colour in the
   * theme, and how its line looks. `unit` stands behind the topmost number.
   */
  constructor(canvas, unit, series) {
    this.#canvas = canvas;
    this.#unit = unit;
    this.#series = series;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Adds values of one moment; `null` where there is none. */
  add(atMs, values) {
    const last = this.#points.at(-1);
    // After the server was started anew its clock begins again.
    if (last !== undefined && atMs < last.atMs) this.#points = [];
    this.#points.push({ atMs, ...values });
    const oldest = atMs - SPAN_MS;
    // One point beyond the edge stays: the line enters the picture from it.
    while (this.#points.length > 1 && this.#points[1].atMs < oldest) {
      this.#points.shift();
    }
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0 || this.#points.length === 0) return;
    const context = fit(this.#canvas, width, height);
    const colours = theme();
    const most = Math.max(
      ...this.#points.map((point) =>
        Math.max(...this.#series.map(({ key }) => point[key]))
      ),
    );
    const top = nice(Math.max(most, SMALLEST_TOP));
    const y = (value) =>
      height - BOTTOM - value / top * (height - TOP - BOTTOM);
    const now = this.#points.at(-1).atMs;
    const x = (atMs) => width - (now - atMs) / SPAN_MS * width;
    this.#grid(context, width, y, top, colours);
    for (const series of this.#series) {
      this.#line(context, series, x, y, colours);
    }
    const shown = this.#series.map(({ key }) =>
      `${key} ${round(this.#points.at(-1)[key])}`
    );
    this.#canvas.setAttribute(
      "aria-label",
      `The last minute; now ${shown.join(", ")}${
        this.#unit === "" ? "" : ` (${this.#unit})`
      }; the scale ends at ${top}`,
    );
  }

  #grid(context, width, y, top, colours) {
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = colours.soft;
    context.strokeStyle = colours.grid;
    context.lineWidth = 1;
    for (const value of [0, top / 2, top]) {
      const at = Math.round(y(value)) + 0.5;
      context.beginPath();
      context.moveTo(0, at);
      context.lineTo(width, at);
      context.stroke();
      if (value === 0) continue;
      const unit = value === top && this.#unit !== "" ? ` ${this.#unit}` : "";
      context.fillText(value.toLocaleString("en") + unit, 0, at - 4);
    }
    const base = Math.round(y(0)) + 14;
    context.fillText("60 s ago", 0, base);
    context.textAlign = "right";
    context.fillText("now", width, base);
    context.textAlign = "left";
  }

  #line(
    context,
    { key, colour, dash = [], fill = false, width = 1.75 },
    x,
    y,
    colours,
  ) {
    const points = this.#points;
    context.beginPath();
    // Steps, not slopes: between two frames a count does not pass through what lies between.
    let before;
    for (const point of points) {
      if (point[key] === null) {
        before = undefined;
        continue;
      }
      const at = y(point[key]);
      if (before === undefined) context.moveTo(x(point.atMs), at);
      else {
        context.lineTo(x(point.atMs), before);
        context.lineTo(x(point.atMs), at);
      }
      before = at;
    }
    context.strokeStyle = colours[colour];
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
    if (!fill) return;
    context.lineTo(x(points.at(-1).atMs), y(0));
    context.lineTo(x(points[0].atMs), y(0));
    context.globalAlpha = 0.16;
    context.fillStyle = colours[colour];
    context.fill();
    context.globalAlpha = 1;
  }
}

function round(value) {
  return value === null ? "none" : Math.round(value * 10) / 10;
}

/** The next number above that a person finds round, in whose half there is no odd digit either. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((n) => n * power).find((n) => n >= value) ??
    value;
}
