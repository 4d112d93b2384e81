/**
 * The Worker of `worker_pipeline.ts`: hashes the blocks whose tickets it is sent.
 */
import { createHash } from "node:crypto";
import {
  type BlockTicket,
  SharedBlockPool,
  type SharedPoolHandle,
} from "@smriti/pool/shared";

/** One upload to be hashed: `size` bytes in the block of the ticket. */
export interface Job {
  readonly id: number;
  readonly ticket: BlockTicket;
  readonly size: number;
}

/** What it came to. */
export interface Answer {
  readonly id: number;
  readonly hash: string;
}

const scope = self as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(answer: Answer): void;
};

scope.onmessage = ({ data: handle }: MessageEvent<SharedPoolHandle>) => {
  const pool = SharedBlockPool.attach(handle);
  scope.onmessage = ({ data: { id, ticket, size } }: MessageEvent<Job>) => {
    const block = pool.adopt(ticket);
    // Not crypto.subtle, which copies first: here the thread may stop for it.
    const bytes = block.bytes.subarray(0, size);
    const hash = createHash("sha256").update(bytes).digest("hex");
    block.release(size);
    scope.postMessage({ id, hash });
  };
};
