// Run by `deno task coverage`: reads the report of the test run and fails when
// under 95 % of the lines of ffi/ and pool/ ran. Deno's own threshold also
// weighs branches, and counts examples and benchmarks along.

const required = 95;
const root = Deno.cwd().replaceAll("\\", "/") + "/";
const folders = ["ffi", "pool"];

const report = await Deno.readTextFile("coverage/lcov.info");
let found = 0;
let hit = 0;
const measured = new Set<string>();

for (const record of report.split("end_of_record")) {
  const path = record.match(/^SF:(.+)$/m)?.[1].trim().replaceAll("\\", "/");
  if (!path?.startsWith(root)) continue;
  const file = path.slice(root.length);
  if (!folders.includes(file.split("/")[0])) continue;
  measured.add(file);

  const lines = [...record.matchAll(/^DA:(\d+),(\d+)/gm)];
  const missed = lines.filter(([, , count]) => count === "0");
  found += lines.length;
  hit += lines.length - missed.length;
  console.log(
    percent(lines.length - missed.length, lines.length).padStart(7),
    file.padEnd(28),
    missed.map(([, line]) => line).join(" "),
  );
}

// The report is silent about a file that no test imported, so say it here.
// (Files that only declare types are among them.)
for (const folder of folders) {
  for await (const { name } of Deno.readDir(folder)) {
    const file = `${folder}/${name}`;
    if (!measured.has(file)) console.log("      –", file, "never ran");
  }
}

console.log(`${percent(hit, found)} of ${found} lines, ${required} % required`);
if (found === 0 || hit / found < required / 100) Deno.exit(1);

function percent(part: number, whole: number): string {
  return whole === 0 ? "–" : (part / whole * 100).toFixed(1) + "%";
}
