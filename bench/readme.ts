/**
 * Puts figures where they are read: between two marks in the README, formatted.
 */

const README = new URL("../README.md", import.meta.url);

/** Replaces what stands between `<!-- name -->` and `<!-- end name -->` in the README. */
export async function intoReadme(name: string, text: string): Promise<void> {
  await into(README, name, text);
}

/** The same in any file. */
export async function into(
  file: URL,
  name: string,
  text: string,
): Promise<void> {
  const before = await Deno.readTextFile(file);
  const place = new RegExp(`(<!-- ${name} -->\n)[^]*(<!-- end ${name} -->)`);
  if (!place.test(before)) throw new Error(`${file} has no place ${name}`);
  const after = before.replace(
    place,
    (_, start, end) => `${start}\n${text}\n\n${end}`,
  );
  await Deno.writeTextFile(file, after);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", file.pathname],
  }).output();
  if (!success) throw new Error(`deno fmt refused ${file}`);
}
