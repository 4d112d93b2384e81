/**
 * What an import brings: from this package, from the runtime, from a file of the user's own, or
 * from another package.
 *
 * Knows specifiers and names, never contents.
 */
import type { Binding } from "./scope.ts";
import { isSmritiModule, OWN_NAMES } from "./smriti_api.ts";
import { stringOf } from "./syntax.ts";
import type { Value } from "./values.ts";
import { FOREIGN, UNKNOWN } from "./values.ts";

/** Modules of Node that are also known without `node:`. */
const BUILTIN =
  /^(fs|fs\/promises|crypto|net|tls|http|https|http2|stream|stream\/promises|zlib|dgram|child_process|events|util|buffer|timers|timers\/promises|worker_threads|process|os|path)$/;

/**
 * Where a specifier leads: `smriti`, `relative` (a file of the user's own), `node:…`, `std/async`,
 * or the specifier itself.
 */
export function moduleOf(specifier: string): string {
  if (isSmritiModule(specifier)) return "smriti";
  if (/^(\.|\/|file:|@\/|~\/|#)/.test(specifier)) return "relative";
  if (specifier.startsWith("node:")) return specifier;
  if (BUILTIN.test(specifier)) return `node:${specifier}`;
  if (/std(@[^/]*)?\/async/.test(specifier)) return "std/async";
  return specifier;
}

/** The module and the names in it that an import binding means. */
export function importOf(
  binding: Binding,
): { module: string; specifier: string; path: string[] } {
  const { node } = binding;
  const declaration = "parent" in node ? node.parent : undefined;
  const specifier = declaration?.type === "ImportDeclaration"
    ? stringOf(declaration.source) ?? ""
    : "";
  const module = moduleOf(specifier);
  if (node.type !== "ImportSpecifier") return { module, specifier, path: [] };
  const { imported } = node;
  const name = imported?.type === "Identifier"
    ? imported.name
    : stringOf(imported) ?? binding.name;
  return { module, specifier, path: name === "default" ? [] : [name] };
}

/** What a name of a module is. */
export function moduleMember(
  module: string,
  specifier: string,
  path: readonly string[],
): Value {
  if (module === "smriti") return api(["smriti", ...path]);
  if (module === "relative") {
    if (path.length === 1 && OWN_NAMES.has(path[0]!)) {
      return api(["smriti", ...path]);
    }
    return UNKNOWN;
  }
  if (module.startsWith("node:") || module === "std/async") {
    return member(api([module]), path);
  }
  return specifier === "" ? UNKNOWN : FOREIGN;
}

function member(value: Value, path: readonly string[]): Value {
  return path.reduce((at, name) => memberOfApi(at, name), value);
}

/** `path.name`, with one spelling for what has several. */
export function memberOfApi(value: Value, name: string): Value {
  if (value.kind !== "api") return UNKNOWN;
  const { path } = value;
  switch (`${path}.${name}`) {
    case "node:fs.promises":
      return api(["node:fs/promises"]);
    case "node:stream.promises":
      return api(["node:stream/promises"]);
  }
  if (name === "default") return value;
  // `globalThis.crypto` is `crypto`.
  return /^(globalThis|self|window|global)$/.test(path)
    ? api([name])
    : api([path, name]);
}

/** An API by its path. */
export function api(path: readonly string[], promisified = false): Value {
  return { kind: "api", path: path.join("."), promisified };
}
