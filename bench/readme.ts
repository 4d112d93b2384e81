/**
 * Puts figures where they are read: between two marks in the README or a page of docs/, formatted.
 */

const ROOT = new URL("../", import.meta.url);

/** Replaces what stands between `<!-- name -->` and `<!-- end name -->`. */
export async function intoReadme(name: string, text: string): Promise<void> {
  const place = new RegExp(`(<!-- ${name} -->\n)[^]*(<!-- end ${name} -->)`);
  const docs = Array.from(
    Deno.readDirSync(new URL("docs/", ROOT)),
    ({ name }) => `docs/${name}`,
  );
  for (const path of ["README.md", ...docs]) {
    if (!path.endsWith(".md")) continue;
    const page = new URL(path, ROOT);
    const before = await Deno.readTextFile(page);
    if (!place.test(before)) continue;
    const after = before.replace(
      place,
      (_, start, end) => `${start}\n${text}\n\n${end}`,
    );
    await Deno.writeTextFile(page, after);
    return await format(page);
  }
  throw new Error(`no page has the place ${name}`);
}

/** As `deno fmt` does. */
export async function format(...files: URL[]): Promise<void> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["fmt", "--quiet"],
      ...files.map(({ pathname }) => decodeURIComponent(pathname)),
    ],
  }).output();
  if (!success) throw new Error(`deno fmt refused ${files.join(", ")}`);
}
