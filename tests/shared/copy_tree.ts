// A copy of some folders of the sources, to plant bugs in.

/** A copy; removed when disposed. */
export class Copy implements AsyncDisposable {
  /** As a URL, ending in a slash. */
  readonly root: string;
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
    this.root = `file://${path}/`;
  }

  /** Replaces a text that stands there so many times. */
  async replace(
    file: string,
    from: string,
    to: string,
    times = 1,
  ): Promise<void> {
    const path = `${this.#path}/${file}`;
    const parts = (await Deno.readTextFile(path)).split(from);
    if (parts.length !== times + 1) {
      throw new Error(`${file} has ${parts.length - 1} times: ${from}`);
    }
    await Deno.writeTextFile(path, parts.join(to));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#path, { recursive: true });
  }
}

/** Copies these folders of `root`, a URL. */
export async function copy(folders: string[], root: string): Promise<Copy> {
  const path = await Deno.makeTempDir({ prefix: "smriti_copy_" });
  for (const folder of folders) await copyFolder(folder, root, path);
  return new Copy(path);
}

async function copyFolder(
  folder: string,
  root: string,
  path: string,
): Promise<void> {
  await Deno.mkdir(`${path}/${folder}`, { recursive: true });
  const entries = Deno.readDir(new URL(folder, root));
  for await (const { name, isDirectory } of entries) {
    const each = `${folder}/${name}`;
    if (isDirectory) await copyFolder(each, root, path);
    else await Deno.copyFile(new URL(each, root), `${path}/${each}`);
  }
}
