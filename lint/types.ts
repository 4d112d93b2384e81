/**
 * What a TypeScript annotation says of a value: a pool, a block, an object of the API table, or a
 * record of such.
 *
 * Reads declarations of the same file and the names of imported types; it never follows an import.
 */
import { receiverTyped } from "./apis.ts";
import type { File } from "./file.ts";
import { importOf } from "./modules.ts";
import type { Binding, Scope } from "./scope.ts";
import { POOL_CLASSES } from "./smriti_api.ts";
import type { Node } from "./syntax.ts";
import { keyName } from "./syntax.ts";
import type { Lease, Origin, Value } from "./values.ts";
import {
  anyOf,
  blockOf,
  FOREIGN,
  listOf,
  promiseOf,
  union,
  UNKNOWN,
} from "./values.ts";

/** Types inside of types that are looked at. */
const MOST_DEPTH = 5;

/** Types of what is walked over one by one. */
const LISTS = new Set([
  "Array",
  "ReadonlyArray",
  "Set",
  "ReadonlySet",
  "Iterable",
  "AsyncIterable",
]);

/** Type operators that leave what this analysis knows of a type as it is. */
const TRANSPARENT = new Set(["Readonly", "NonNullable", "Required", "Partial"]);

/**
 * The value of an annotation; `undefined` if it says nothing.
 *
 * @param isMember It is the type of a member, of whichever object
 */
export function typedValue(
  file: File,
  scope: Scope,
  type: Node | null | undefined,
  name: string,
  isMember = false,
  depth = 0,
): Value | undefined {
  return type && depth <= MOST_DEPTH
    ? valueOfType(file, scope, type, name, isMember, depth)
    : undefined;
}

function valueOfType(
  file: File,
  scope: Scope,
  type: Node,
  name: string,
  isMember: boolean,
  depth: number,
): Value | undefined {
  const inner = (node: Node | null | undefined, as = name, member = isMember) =>
    typedValue(file, scope, node, as, member, depth + 1);
  switch (type.type) {
    case "TSTypeAnnotation":
      return inner(type.typeAnnotation);
    case "TSAnyKeyword":
    case "TSUnknownKeyword":
      return undefined;
    case "TSUnionType": {
      const values = type.types
        .filter(({ type }) => !/^TS(Null|Undefined|Void)Keyword$/.test(type))
        .map((each) => inner(each));
      const found = values.filter((each) => each !== undefined);
      if (found.length === 0) return undefined;
      const all = found.reduce(union);
      return all.kind === "block" && values.length < type.types.length
        ? { ...all, maybe: true }
        : all;
    }
    case "TSIntersectionType": {
      const found = type.types.map((each) => inner(each))
        .filter((each) => each !== undefined);
      const members = found.flatMap((each) =>
        each.kind === "record" ? [...each.members] : []
      );
      if (members.length === 0) return found[0];
      return { kind: "record", members: new Map(members) };
    }
    case "TSTypeOperator":
      return inner(type.typeAnnotation);
    case "TSArrayType":
      return arrayOf(type.elementType, type);
    case "TSTypeLiteral":
      return recordOf(type.members);
    case "TSImportType":
      return undefined;
    case "TSTypeReference":
      return referenced(type);
    default:
      // A type that is spelled out is none of ours: `pool: { acquire(): Promise<Client> }`.
      return FOREIGN;
  }

  function arrayOf(element: Node | null | undefined, node: Node): Value {
    const item = inner(element, name, true);
    if (item?.kind === "block") return blocksOf(file, item, node);
    // Which of several pools an element is cannot be told.
    const own: Value | undefined = item?.kind === "pool"
      ? anyOf(item)
      : item?.kind === "thing"
      ? item
      : undefined;
    return listOf(own === undefined ? [] : [own], true);
  }

  function recordOf(members: readonly Node[]): Value {
    const found = new Map<string, Value>();
    for (const each of members) {
      if (each.type !== "TSPropertySignature") continue;
      const key = keyName(each.key, each.computed);
      const value = key === undefined
        ? undefined
        : inner(each.typeAnnotation, key, true);
      if (key !== undefined && value !== undefined) found.set(key, value);
    }
    return { kind: "record", members: found };
  }

  function referenced(node: Deno.lint.TSTypeReference): Value | undefined {
    const parts = qualified(node.typeName);
    if (parts === undefined) return undefined;
    const binding = scope.lookup(parts[0]!);
    const argument = node.typeArguments?.params[0];
    if (binding === undefined) {
      const path = parts.join(".");
      if (TRANSPARENT.has(path)) return inner(argument);
      if (path === "Promise" || path === "PromiseLike") {
        const of = inner(argument);
        return of === undefined ? UNKNOWN : promiseOf(of);
      }
      if (LISTS.has(path)) return arrayOf(argument, node);
      return named(path, false);
    }
    if (binding.kind === "import") {
      const { module, path } = importOf(binding);
      const full = [...path, ...parts.slice(1)];
      switch (module) {
        case "smriti":
          return named(full.join("."), true);
        case "relative":
          return named(full.join("."), false);
        default:
          return otherType(module, full);
      }
    }
    return declared(binding.node);
  }

  /** A type of this name: Smriti's for certain, or by its name alone. */
  function named(path: string, sure: boolean): Value {
    if (POOL_CLASSES.has(path) || path === "Pool") {
      return {
        kind: "pool",
        origin: typedOrigin(file, scope, name, {
          sure: sure || path !== "Pool",
          sized: path === "SizeClassPool",
        }),
      };
    }
    if (path === "Block") {
      return borrowed(file, type, name, sure, isMember);
    }
    if (path === "BlockArray") {
      const item = borrowed(file, type, name, sure, isMember);
      return blocksOf(file, item, type);
    }
    const receiver = receiverTyped(path);
    return receiver === undefined ? UNKNOWN : { kind: "thing", type: receiver };
  }

  /** A type that this file declares. */
  function declared(node: Node): Value | undefined {
    if (node.type === "TSInterfaceDeclaration") {
      return recordOf(node.body?.body ?? []);
    }
    if (node.type === "TSTypeAliasDeclaration") {
      return inner(node.typeAnnotation);
    }
    return FOREIGN;
  }
}

/** A type of another package or of the runtime. */
function otherType(module: string, path: readonly string[]): Value {
  const name = path.join(".");
  const short = module.replace(/^(node|npm):/, "").replace(/@.*/, "");
  const receiver = module.startsWith("node:")
    ? receiverTyped(`${short}.${name}`) ?? receiverTyped(name)
    : receiverTyped(`${short}.${name}`) ??
      (name.startsWith("Fastify") ? receiverTyped(name) : undefined);
  return receiver === undefined ? FOREIGN : { kind: "thing", type: receiver };
}

/** `A.B.C` as its parts. */
function qualified(node: Node): string[] | undefined {
  if (node.type === "Identifier") return [node.name];
  if (node.type !== "TSQualifiedName") return undefined;
  const left = qualified(node.left);
  return left && [...left, node.right.name];
}

/** The pool that a variable or member of this name holds. */
function typedOrigin(
  file: File,
  scope: Scope,
  name: string,
  { sure, sized }: { sure: boolean; sized: boolean },
): Origin {
  const binding = scope.lookup(name);
  const key = binding === undefined
    ? `typed ${file.idOf(scope)} ${name}`
    : keyOf(file, binding);
  return file.originOf(key, () => ({ name, sure, sized }));
}

/** What two expressions must share to be the same variable. */
export function keyOf(file: File, binding: Binding): string {
  return `${file.idOf(binding)} ${binding.name}`;
}

/** A block that the caller lends. */
export function borrowed(
  file: File,
  site: Node,
  name: string,
  sure: boolean,
  isVague = false,
): Value {
  const lease = file.leaseAt(site, () => ({
    isVague,
    origin: file.originOf(`block ${file.idOf(site)}`, () => ({
      name,
      sure,
      sized: false,
    })),
    owner: "caller",
    many: false,
  }));
  lease.name ||= name;
  return blockOf(lease);
}

/** An array of blocks that the caller lends. */
function blocksOf(file: File, item: Value, site: Node): Value {
  const origin = item.kind === "block" ? item.leases[0]!.origin : undefined;
  if (origin === undefined) return UNKNOWN;
  const lease: Lease = file.leaseAt(site, () => ({
    origin,
    owner: "caller",
    many: true,
  }));
  return { kind: "blocks", lease };
}
