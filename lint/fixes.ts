/**
 * What `deno lint --fix` may write by itself: `using`, `await` and `.bytes`, where that cannot
 * change what the program does otherwise.
 */
import type { File } from "./file.ts";
import type { Finding } from "./findings.ts";
import type { Node } from "./syntax.ts";
import { functionAround } from "./syntax.ts";
import { parentOf } from "./tree.ts";
import type { Lease } from "./values.ts";

type Fix = Finding["fix"];

/** Whether `await` may stand where the node is. */
function mayAwait(node: Node): boolean {
  const around = functionAround(node);
  return around === undefined || around.async;
}

/** `await` before a call whose value is dropped or returned. */
export function awaitFix(call: Node, file: File): Fix {
  const parent = parentOf(call);
  const isFree = parent?.type === "ExpressionStatement" ||
    parent?.type === "ReturnStatement";
  return isFree && mayAwait(call)
    ? insertBefore(call, "await ", file)
    : undefined;
}

/** `await` before an acquire, wherever it stands. */
export function awaitAcquireFix(call: Node, file: File): Fix {
  if (!mayAwait(call)) return undefined;
  const parent = parentOf(call);
  if (parent?.type !== "MemberExpression") {
    return insertBefore(call, "await ", file);
  }
  const [start, end] = call.range;
  return () => [
    { range: [start, start], text: "(await " },
    { range: [end, end], text: ")" },
  ];
}

/** `using` for `const`, if the block goes nowhere else and nothing releases it on another way. */
export function usingFix(lease: Lease, file: File): Fix {
  const { declaration } = lease;
  if (declaration === undefined || lease.escapes) return undefined;
  if (declaration.declarations.length !== 1) return undefined;
  const { id } = declaration.declarations[0]!;
  const parent = parentOf(declaration)?.type;
  if (declaration.kind !== "const" || id?.type !== "Identifier") {
    return undefined;
  }
  if (parent !== "BlockStatement" && parent !== "Program") return undefined;
  const [start] = declaration.range;
  if (file.text.slice(start, start + 5) !== "const") return undefined;
  return () => [{ range: [start, start + 5], text: "using" }];
}

/** `.bytes` behind the name of a block. */
export function bytesFix(node: Node): Fix {
  if (node.type !== "Identifier" && node.type !== "MemberExpression") {
    return undefined;
  }
  const parent = parentOf(node);
  // `{ body }` would need its key.
  if (parent?.type === "Property" && parent.shorthand) return undefined;
  const [, end] = node.range;
  return () => [{ range: [end, end], text: ".bytes" }];
}

function insertBefore(node: Node, text: string, file: File): Fix {
  const [start] = node.range;
  return file.text.slice(start).startsWith(text)
    ? undefined
    : () => [{ range: [start, start], text }];
}
