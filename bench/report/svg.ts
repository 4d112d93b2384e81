/**
 * Small plots as SVG text, readable on light and on dark: no background, grey words, clear colours.
 */
import type { Spread } from "../measure.ts";
import { digits } from "./markdown.ts";

const GREY = "#7d8590";
const COLOURS = ["#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444"];
const GRID = `stroke="${GREY}" stroke-opacity="0.25"`;
const WIDTH = 760;

/** One bar. */
export interface Bar {
  readonly name: string;
  readonly figure: Spread;
  /** Drawn in the colour of ours. */
  readonly ours: boolean;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function text(x: number, y: number, words: string, anchor = "start"): string {
  return `<text x="${x.toFixed(1)}" y="${
    y.toFixed(1)
  }" text-anchor="${anchor}">${escape(words)}</text>`;
}

/** Straight lines of one style, each from a point across (`H`) or down (`V`). */
function strokes(
  style: string,
  all: readonly (readonly [x: number, y: number, way: "H" | "V", to: number])[],
): string {
  const d = all.map(([x, y, way, to]) =>
    `M${x.toFixed(1)} ${y.toFixed(1)}${way}${to.toFixed(1)}`
  );
  return `<path d="${d.join("")}" ${style}/>`;
}

function picture(height: number, title: string, parts: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" font-family="system-ui, sans-serif" font-size="12" fill="${GREY}">`,
    `<title>${escape(title)}</title>`,
    `<text x="8" y="18" font-size="14" font-weight="600">${
      escape(title)
    }</text>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

/** Bars along a logarithmic axis, with the spread of the rounds as whiskers. */
export function bars(title: string, unit: string, all: Bar[]): string {
  const left = 230, right = WIDTH - 90, top = 34, step = 22;
  const low = Math.floor(
    Math.log10(Math.min(...all.map(({ figure }) => figure.min))),
  );
  const high = Math.ceil(
    Math.log10(Math.max(...all.map(({ figure }) => figure.max))),
  );
  const x = (value: number) =>
    left + (right - left) * (Math.log10(value) - low) / Math.max(1, high - low);
  const bottom = top + all.length * step;
  const ticks = Array.from(
    { length: high - low + 1 },
    (_, at) => 10 ** (low + at),
  );
  const parts = [
    strokes(GRID, ticks.map((tick) => [x(tick), top, "V", bottom])),
    ...ticks.map((tick) => text(x(tick), bottom + 16, digits(tick), "middle")),
  ];
  all.forEach(({ name, figure, ours }, at) => {
    const y = top + at * step;
    const end = x(figure.median);
    parts.push(text(left - 8, y + 14, name, "end"));
    parts.push(
      `<rect x="${left}" y="${y + 4}" width="${
        Math.max(1, end - left).toFixed(1)
      }" height="14" rx="2" fill="${ours ? COLOURS[0] : "#9ca3af"}"/>`,
    );
    parts.push(
      text(Math.max(end, x(figure.max)) + 6, y + 15, digits(figure.median)),
    );
  });
  parts.push(strokes(
    `stroke="${COLOURS[1]}" stroke-width="2"`,
    all.map(({ figure: { min, max } }, at) =>
      [x(min), top + at * step + 11, "H", x(max)] as const
    ),
  ));
  parts.push(text(right, bottom + 32, unit, "end"));
  return picture(bottom + 42, title, parts);
}

/** One line of a plot. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
}

/** Lines over time, both axes from 0. */
export function lines(
  title: string,
  xUnit: string,
  yUnit: string,
  all: Series[],
): string {
  const left = 60, right = WIDTH - 20, top = 34, bottom = 320;
  const points = all.flatMap(({ points }) => points);
  const xMost = Math.max(...points.map(([x]) => x));
  const yMost = nice(Math.max(...points.map(([, y]) => y)));
  const x = (value: number) => left + (right - left) * value / xMost;
  const y = (value: number) => bottom - (bottom - top) * value / yMost;
  const parts: string[] = [];
  for (let tick = 0; tick <= 5; tick++) {
    const value = yMost * tick / 5;
    parts.push(text(left - 6, y(value) + 4, digits(value), "end"));
  }
  parts.push(strokes(
    GRID,
    [0, 1, 2, 3, 4, 5].map((tick) => [left, y(yMost * tick / 5), "H", right]),
  ));
  for (let tick = 0; tick <= 6; tick++) {
    const value = xMost * tick / 6;
    parts.push(text(x(value), bottom + 16, digits(value), "middle"));
  }
  all.forEach(({ name, points, dashed }, at) => {
    const colour = COLOURS[at % COLOURS.length];
    const path = points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`)
      .join(" ");
    const dash = dashed ? ' stroke-dasharray="5 4"' : "";
    parts.push(
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.8"${dash}/>`,
    );
    const legend = left + 10 + (at % 3) * 220;
    const row = bottom + 40 + Math.floor(at / 3) * 18;
    const style = `stroke="${colour}" stroke-width="3"${dash}`;
    parts.push(strokes(style, [[legend, row - 4, "H", legend + 22]]));
    parts.push(text(legend + 28, row, name));
  });
  parts.push(text(right, 18, `${yUnit} by ${xUnit}`, "end"));
  return picture(bottom + 46 + Math.ceil(all.length / 3) * 18, title, parts);
}

/** The next number that divides well by five. */
function nice(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  for (const times of [1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10]) {
    if (times * power >= value) return times * power;
  }
  return 10 * power;
}
