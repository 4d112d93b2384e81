/**
 * The syntax tree of a file, read once from the one that `deno lint` gives, as far as it is asked for.
 *
 * Deno's nodes decode each property anew whenever it is asked for, and are not always what their
 * types say. Here a node is a plain object with the fields that the analysis reads: every list is a
 * list without gaps, what is not there is `null`, and no value of a literal is built but of strings.
 * The types are Deno's own.
 */
import type { Node } from "./syntax.ts";

/** Nodes inside of nodes that are read: a tree that is deeper is not analysed at all. */
const MOST_DEPTH = 500;

/**
 * For each type of node, the fields that are read. Other types have none. What must be there (`!`)
 * is there, if need be as a node of no type, and a list (`*`) is one: the parser goes on behind some
 * errors.
 */
const FIELDS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    Program: "body*",
    ImportDeclaration: "source! specifiers*",
    ImportSpecifier: "imported local",
    ImportDefaultSpecifier: "local",
    ImportNamespaceSpecifier: "local",
    TSImportEqualsDeclaration: "id",
    ExportNamedDeclaration: "declaration",
    ExportDefaultDeclaration: "declaration",
    VariableDeclaration: "kind declare declarations*",
    VariableDeclarator: "id! init",
    FunctionDeclaration: "id async generator params* body",
    FunctionExpression: "id async generator params* body",
    ArrowFunctionExpression: "async generator params* body",
    TSDeclareFunction: "id",
    ClassDeclaration: "id superClass body",
    ClassExpression: "id superClass body",
    ClassBody: "body*",
    MethodDefinition: "kind computed key! value",
    PropertyDefinition: "computed key! value typeAnnotation",
    AccessorProperty: "computed key! value",
    StaticBlock: "body",
    TSParameterProperty: "parameter!",
    BlockStatement: "body*",
    TSModuleBlock: "body*",
    TSModuleDeclaration: "id body",
    ReturnStatement: "argument",
    ThrowStatement: "argument",
    LabeledStatement: "label body",
    BreakStatement: "label",
    ContinueStatement: "label",
    IfStatement: "test! consequent alternate",
    SwitchStatement: "discriminant! cases*",
    SwitchCase: "test consequent*",
    WhileStatement: "test! body",
    DoWhileStatement: "test! body",
    ForStatement: "init test update body",
    ForInStatement: "left! right! body",
    ForOfStatement: "await left! right! body",
    ExpressionStatement: "expression!",
    TryStatement: "block! handler finalizer",
    CatchClause: "param body",
    WithStatement: "object! body",
    ArrayExpression: "elements*",
    ObjectExpression: "properties*",
    Property: "computed shorthand key! value!",
    SpreadElement: "argument!",
    BinaryExpression: "operator left! right!",
    LogicalExpression: "operator left! right!",
    AssignmentExpression: "operator left! right!",
    UnaryExpression: "operator argument!",
    UpdateExpression: "argument!",
    ConditionalExpression: "test! consequent! alternate!",
    SequenceExpression: "expressions*",
    CallExpression: "callee! arguments*",
    NewExpression: "callee! arguments*",
    MemberExpression: "computed object! property!",
    ChainExpression: "expression!",
    TSNonNullExpression: "expression!",
    TSSatisfiesExpression: "expression!",
    TSInstantiationExpression: "expression!",
    TSAsExpression: "expression! typeAnnotation",
    TSTypeAssertion: "expression! typeAnnotation",
    TemplateLiteral: "expressions*",
    TaggedTemplateExpression: "tag! quasi",
    AwaitExpression: "argument!",
    YieldExpression: "argument",
    ImportExpression: "source!",
    Identifier: "name typeAnnotation",
    PrivateIdentifier: "name",
    Literal: "raw",
    AssignmentPattern: "left! right!",
    ArrayPattern: "elements*",
    ObjectPattern: "properties* typeAnnotation",
    RestElement: "argument!",
    JSXElement: "openingElement children*",
    JSXFragment: "children*",
    JSXOpeningElement: "attributes*",
    JSXAttribute: "value",
    JSXSpreadAttribute: "argument!",
    JSXExpressionContainer: "expression",
    TSTypeAnnotation: "typeAnnotation",
    TSUnionType: "types*",
    TSIntersectionType: "types*",
    TSTypeOperator: "typeAnnotation",
    TSArrayType: "elementType",
    TSTypeLiteral: "members*",
    TSPropertySignature: "computed key! typeAnnotation",
    TSTypeReference: "typeName! typeArguments",
    TSTypeParameterInstantiation: "params*",
    TSQualifiedName: "left! right!",
    TSImportType: "argument qualifier",
    TSLiteralType: "literal",
    TSInterfaceDeclaration: "id body",
    TSInterfaceBody: "body*",
    TSTypeAliasDeclaration: "id typeAnnotation",
    TSEnumDeclaration: "id",
  }).map(([type, fields]) => [type, fields.split(" ")]),
);

/** A node as Deno gives it. */
interface Raw {
  readonly type?: string;
  readonly range: Deno.lint.Range;
  readonly [field: string]: unknown;
}

/** A field of a type of node. */
interface Field {
  readonly name: string;
  /** What stands where it is missing. */
  readonly missing: Plain | readonly Plain[] | null;
}

/** The value of a slot that is not read yet. */
const UNREAD = Symbol("unread");

/**
 * A node, whose fields are read when they are asked for.
 *
 * Nodes of all types have one hidden class, so that the engine's inline caches for their members
 * stay monomorphic: fields lie in slots, and no two fields of one type share a slot.
 */
class Plain {
  readonly denoNode: Raw;
  readonly type: string;
  readonly parent: Plain | null;
  readonly depth: number;
  readonly tree: Tree | null;
  slot0: unknown = UNREAD;
  slot1: unknown = UNREAD;
  slot2: unknown = UNREAD;
  slot3: unknown = UNREAD;
  slot4: unknown = UNREAD;
  #range: Deno.lint.Range | undefined = undefined;

  constructor(
    denoNode: Raw,
    type: string,
    parent: Plain | null,
    depth: number,
    tree: Tree | null,
  ) {
    this.denoNode = denoNode;
    this.type = type;
    this.parent = parent;
    this.depth = depth;
    this.tree = tree;
  }

  /** Start and end in the text, in UTF-16 units. */
  get range(): Deno.lint.Range {
    return this.#range ??= this.denoNode.range;
  }

  /** Reads the field that lies in a slot. */
  read(slot: number): unknown {
    const field = TYPES.get(this.type)?.[slot];
    if (field === undefined) return undefined;
    return this.tree?.convert(this.denoNode[field.name], this) ?? field.missing;
  }
}

/** The members of a node that read its slots. */
const SLOTS: readonly PropertyDescriptor[] = [
  {
    get(this: Plain) {
      const value = this.slot0;
      return value === UNREAD ? this.slot0 = this.read(0) : value;
    },
  },
  {
    get(this: Plain) {
      const value = this.slot1;
      return value === UNREAD ? this.slot1 = this.read(1) : value;
    },
  },
  {
    get(this: Plain) {
      const value = this.slot2;
      return value === UNREAD ? this.slot2 = this.read(2) : value;
    },
  },
  {
    get(this: Plain) {
      const value = this.slot3;
      return value === UNREAD ? this.slot3 = this.read(3) : value;
    },
  },
  {
    get(this: Plain) {
      const value = this.slot4;
      return value === UNREAD ? this.slot4 = this.read(4) : value;
    },
  },
];

/** What stands where something is missing. */
const MISSING = new Plain({ range: [0, 0] }, "", null, 0, null);

/** For each type of node, its fields by their slots. */
const TYPES: ReadonlyMap<string, readonly (Field | undefined)[]> = layOut();

/** Greedy colouring: each name gets the lowest slot that no other field of its types has. */
function layOut(): Map<string, Field[]> {
  const types = new Map<string, Field[]>();
  const all = [...FIELDS].map(([type, marked]) => {
    const own: Field[] = [];
    types.set(type, own);
    return { own, fields: marked.map(fieldOf) };
  });
  const names = new Map<string, number>();
  for (const { name } of all.flatMap(({ fields }) => fields)) {
    names.set(name, (names.get(name) ?? 0) + 1);
  }
  for (const [name] of [...names].sort(([, a], [, b]) => b - a)) {
    const users = all.filter(({ fields }) =>
      fields.some((field) => field.name === name)
    );
    let slot = 0;
    while (users.some(({ own }) => own[slot] !== undefined)) slot++;
    for (const { own, fields } of users) {
      own[slot] = fields.find((field) => field.name === name)!;
    }
    Object.defineProperty(Plain.prototype, name, SLOTS[slot]!);
  }
  return types;
}

/** A field as the table has it. */
function fieldOf(marked: string): Field {
  const missing = marked.endsWith("!")
    ? MISSING
    : marked.endsWith("*")
    ? []
    : null;
  return { name: marked.replace(/[!*]$/, ""), missing };
}

/** The tree of a file. */
export class Tree {
  readonly program: Deno.lint.Program;
  /** Part of the tree was too deep to be read: what is known is not the whole. */
  isTooDeep = false;

  constructor(program: Deno.lint.Program) {
    const root = this.#read(program as unknown as Raw, null);
    this.program = root as unknown as Deno.lint.Program;
  }

  /** A value of Deno's tree in this one. */
  convert(value: unknown, parent: Plain): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (!Array.isArray(value)) return this.#read(value as Raw, parent);
    const list: Plain[] = [];
    for (const each of value) {
      const node = each && this.#read(each, parent);
      if (node) list.push(node);
    }
    return list;
  }

  #read(raw: Raw, parent: Plain | null): Plain | null {
    const type = raw.type;
    // What has no type is nothing, and an empty one is an empty statement.
    if (!type) return null;
    const depth = parent === null ? 0 : parent.depth + 1;
    if (depth > MOST_DEPTH) {
      this.isTooDeep = true;
      return null;
    }
    return new Plain(raw, type, parent, depth, this);
  }
}

/** The parent of a node; the file itself has none. */
export function parentOf(node: Node): Node | undefined {
  return (node as unknown as { parent: Node | null }).parent ?? undefined;
}
