/**
 * Opens the native library before the first test: it stays open for the life of the process, which
 * the resource sanitizer would take for a leak of whichever test happens to come first.
 */
import { BlockPool } from "@smriti/pool";

await new BlockPool({ blockSize: 1, maxBlocks: 1, backend: "auto" }).close();
