// What a pool of 512 MB does in a control group of 300 MB; `run.sh` runs this inside one, and looks for
// the lines it prints.
//   inside.ts            what is known and said
//   inside.ts pressure   the program takes memory while the pool has some to give
//   inside.ts alone      the same, and the pool keeps what it has (pressureTrim: false)
//   inside.ts prefault   a pool that would have all of it made resident

import { BlockPool, memoryLimit, type PoolOptions } from "../../mod.ts";

const MIB = 2 ** 20;
const options: PoolOptions = { blockSize: MIB, maxBlocks: 512 };
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const mib = (bytes: number) => Math.round(bytes / MIB);

function usage(): string {
  const group = Deno.readTextFileSync("/proc/self/cgroup").trim().slice(3);
  const file = (name: string) =>
    Deno.readTextFileSync(`/sys/fs/cgroup${group}/${name}`);
  const events = file("memory.events").replaceAll("\n", " ");
  const waiting = file("memory.pressure").match(/avg10=([\d.]+)/)?.[1];
  return `group ${
    mib(Number(file("memory.current")))
  } MiB, some avg10=${waiting}, ${events}`;
}

switch (Deno.args[0]) {
  case undefined: {
    console.log("limit:", JSON.stringify(memoryLimit()));
    console.log("footprint:", JSON.stringify(BlockPool.footprint(options)));
    const pool = new BlockPool(options);
    await sleep(10);
    await pool.close();
    break;
  }
  case "prefault": {
    try {
      new BlockPool({ ...options, prefault: true });
      console.log("prefault: made");
    } catch (error) {
      console.log(`prefault: ${(error as { code?: string }).code}: ${error}`);
    }
    break;
  }
  case "alone":
  case "pressure": {
    const pressureTrim = Deno.args[0] === "pressure";
    const pool = new BlockPool({ ...options, initialBlocks: 8, pressureTrim });
    pool.addEventListener("oversized", () => {});
    let given = 0;
    pool.addEventListener("pressure", ({ detail: { bytes } }) => {
      given += bytes;
      console.log(`pressure: ${mib(bytes)} MiB back; ${usage()}`);
    });
    const blocks = await pool.acquireMany(160);
    for (const block of blocks) block.bytes.fill(1);
    blocks[Symbol.dispose]();
    console.log(`idle, 160 MiB of blocks were written; ${usage()}`);
    // The program itself takes more and more, slowly enough for the kernel to answer with its brake.
    const kept: Uint8Array[] = [];
    for (let taken = 0; taken < 160; taken += 4) {
      kept.push(new Uint8Array(4 * MIB).fill(1));
      await sleep(100);
    }
    console.log(
      `the program took ${kept.length * 4} MiB, the pool gave ${
        mib(given)
      }; ${usage()}`,
    );
    await pool.close();
  }
}
