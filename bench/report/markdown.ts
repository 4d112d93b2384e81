/**
 * The report as Markdown: tables, targets met and missed, what it does not show.
 */
import type { Spread } from "../measure.ts";
import {
  type Cell,
  isMet,
  type Scenario,
  type Section,
  type Table,
  type Verdict,
} from "./section.ts";

/** Three figures that mean something; no more. */
export function digits(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return String(value);
  if (size >= 100 || Number.isInteger(value)) {
    return Math.round(value).toLocaleString("en-US").replaceAll(",", " ");
  }
  return value.toFixed(size >= 10 ? 1 : size >= 0.01 || size === 0 ? 2 : 4);
}

function spreadText({ median, min, max }: Spread): string {
  if (min === max) return digits(median);
  return `${digits(median)} (${digits(min)}–${digits(max)})`;
}

function cellText(cell: Cell): string {
  if (cell === undefined) return "";
  if (typeof cell !== "string" && Number.isNaN(cell.median)) return "";
  return typeof cell === "string" ? cell : spreadText(cell);
}

/** One table. */
export function tableText({ caption, heading, columns, rows }: Table): string {
  const isWords = (at: number) =>
    rows.every(([, ...cells]) => typeof cells[at] === "string");
  const lines = [
    [heading, ...columns],
    ["---", ...columns.map((_, at) => isWords(at) ? "---" : "---:")],
    ...rows.map(([name, ...cells]) => [name, ...cells.map(cellText)]),
  ];
  const text = lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  return caption === undefined ? text : `${caption}\n\n${text}`;
}

/** One line about one target. */
export function verdictText(verdict: Verdict): string {
  const { what, figure, atMost, atLeast, unit = "" } = verdict;
  const limit = atMost === undefined
    ? `at least ${digits(atLeast!)}${unit}`
    : `at most ${digits(atMost)}${unit}`;
  const mark = isMet(verdict) ? "met" : "**missed**";
  return `${mark}: ${what}: ${spreadText(figure)}${unit}, ${limit}`;
}

/** One scenario. */
export function sectionText(
  scenario: Scenario,
  section: Section,
  plots: string,
): string {
  const { id, title, asks, hides } = scenario;
  return [
    `## ${title}`,
    asks,
    `Alone: \`deno task bench:report --only ${id}\``,
    ...section.plots.map(({ file, alt }) => `![${alt}](${plots}/${file})`),
    ...section.tables.map(tableText),
    ...section.notes,
    section.verdicts.map((verdict) => `- ${verdictText(verdict)}`).join("\n"),
    `_What this does not show:_ ${hides}`,
  ].filter((part) => part !== "").join("\n\n");
}
