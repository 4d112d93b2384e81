// A folder that looks like the parts of a system's / that tell of control groups.

import { dirname } from "node:path";

/** Files by their names under the folder, which is gone when this is disposed. */
export class FakeSystem implements Disposable {
  /** The folder, in the place of /. */
  readonly root: string = Deno.makeTempDirSync({ prefix: "smriti-system-" });

  /** A system with these files. */
  constructor(files: Record<string, string>) {
    for (const [path, text] of Object.entries(files)) this.write(path, text);
  }

  /** Puts another text into a file, which need not be there. */
  write(path: string, text: string): void {
    Deno.mkdirSync(dirname(this.root + path), { recursive: true });
    Deno.writeTextFileSync(this.root + path, text);
  }

  /** Removes it all. */
  [Symbol.dispose](): void {
    Deno.removeSync(this.root, { recursive: true });
  }
}

/** /proc/self/cgroup and /proc/self/mountinfo of a process in a group of version 2. */
export function version2(path: string, top = "/"): Record<string, string> {
  return {
    "/proc/self/cgroup": `0::${path}\n`,
    "/proc/self/mountinfo":
      `23 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw\n` +
      `31 23 0:26 ${top} /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n`,
  };
}

/** The same of version 1, where each controller has a mount of its own. */
export function version1(path: string, top = "/"): Record<string, string> {
  return {
    "/proc/self/cgroup":
      `5:devices:/other\n4:cpu,memory:${path}\n1:name=systemd:/other\n0::/\n`,
    "/proc/self/mountinfo":
      `33 31 0:30 ${top} /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n` +
      `34 31 0:31 ${top} /sys/fs/cgroup/cpu,memory rw - cgroup cgroup rw,cpu,memory\n`,
  };
}
