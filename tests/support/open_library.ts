/** For `--preload`: opens the native library before the first test. It stays open until the process ends. */
import { BlockPool } from "@smriti/pool";

await new BlockPool({ blockSize: 1, maxBlocks: 1, backend: "auto" }).close();
