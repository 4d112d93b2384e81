// Run by `deno task coverage`: reads the report of the test run and fails when
// fewer lines of a folder ran than it requires. Deno's own threshold also
// weighs branches, and counts examples and benchmarks along.

/** In percent. Of ffi/, what one system runs: the rest is for others. */
const REQUIRED = { ffi: 93, pool: 95, shared: 95, io: 95 };
const root = Deno.cwd().replaceAll("\\", "/") + "/";
const report = await Deno.readTextFile("coverage/lcov.info");
/** By file, the number of each line and how often it ran. */
const files = new Map<string, RegExpExecArray[]>();
for (const record of report.split("end_of_record")) {
  const path = record.match(/^SF:(.+)$/m)?.[1].trim().replaceAll("\\", "/");
  if (!path?.startsWith(root)) continue;
  files.set(path.slice(root.length), [...record.matchAll(/^DA:(\d+),(\d+)/gm)]);
}

/** Every source file under a folder. */
function* sources(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* sources(`${folder}/${name}`);
    else yield `${folder}/${name}`;
  }
}

for (const [folder, required] of Object.entries(REQUIRED)) {
  let found = 0;
  let hit = 0;
  for (const file of sources(folder)) {
    // The report is silent about a file that no test imported, and about one that only declares types.
    const lines = files.get(file) ?? [];
    const missed = lines.filter(([, , count]) => count === "0");
    const ran = lines.length - missed.length;
    found += lines.length;
    hit += ran;
    const numbers = missed.map(([, line]) => line).join(" ");
    console.log(
      percent(ran, lines.length).padStart(7),
      file.padEnd(28),
      numbers,
    );
  }
  const share = `${percent(hit, found)} of ${found} lines of ${folder}/`;
  console.log(`${share}, ${required} % required\n`);
  if (found === 0 || hit / found < required / 100) Deno.exitCode = 1;
}

function percent(part: number, whole: number): string {
  return whole === 0 ? "–" : (part / whole * 100).toFixed(1) + "%";
}
