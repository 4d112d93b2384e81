/**
 * The syntax tree of a file, read once from the one that `deno lint` gives.
 *
 * Deno's nodes decode each property anew whenever it is asked for, and are not always what their
 * types say. Here a node is a plain object with the fields that the analysis reads: every list is a list
 * without gaps, what is not there is `null`, and no value of a literal is built but of strings. The
 * types are Deno's own.
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
    FunctionDeclaration: "id async generator",
    FunctionExpression: "id async generator",
    ArrowFunctionExpression: "async generator",
    TSDeclareFunction: "id",
    ClassDeclaration: "id superClass",
    ClassExpression: "id superClass",
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
    ForOfStatement: "left! right! body",
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
    Identifier: "name",
    PrivateIdentifier: "name",
    Literal: "raw",
    AssignmentPattern: "left! right!",
    ArrayPattern: "elements*",
    ObjectPattern: "properties*",
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
    TSInterfaceDeclaration: "id",
    TSInterfaceBody: "body*",
    TSTypeAliasDeclaration: "id",
    TSEnumDeclaration: "id",
  }).map(([type, fields]) => [type, fields.split(" ")]),
);

type Raw = Readonly<Record<string, unknown>>;

/**
 * A node as it is read. Its fields lie in the order of the table in slots, so that all nodes are
 * small and of one shape.
 */
class Plain {
  slot0: unknown = undefined;
  slot1: unknown = undefined;
  slot2: unknown = undefined;
  slot3: unknown = undefined;

  constructor(
    readonly denoNode: Raw,
    readonly type: string,
    readonly parent: Plain | null,
  ) {}

  /** Start and end in the text, in UTF-16 units. */
  get range(): Deno.lint.Range {
    return this.denoNode.range as Deno.lint.Range;
  }
}

/** A field in one of the slots. */
const SLOTS: readonly PropertyDescriptor[] = [
  {
    get(this: Plain) {
      return this.slot0;
    },
  },
  {
    get(this: Plain) {
      return this.slot1;
    },
  },
  {
    get(this: Plain) {
      return this.slot2;
    },
  },
  {
    get(this: Plain) {
      return this.slot3;
    },
  },
];

/** A node of which much is never looked into: its larger fields are read when they are asked for. */
class Lazy extends Plain {
  tree: Tree | undefined;
  depth = 0;
  #body: unknown;
  #params: unknown;
  #typeAnnotation: unknown;

  get body(): unknown {
    return this.#body ??= this.#read("body");
  }

  get params(): unknown {
    return this.#params ??= this.#read("params") ?? [];
  }

  get typeAnnotation(): unknown {
    return this.#typeAnnotation ??= this.#read("typeAnnotation");
  }

  #read(field: string): unknown {
    return this.tree?.convert(this.denoNode[field], this, this.depth + 1) ??
      null;
  }
}

/** Types of nodes whose `body`, `params` and `typeAnnotation` are read late. */
const LAZY: ReadonlySet<string> = new Set([
  "FunctionDeclaration",
  "FunctionExpression",
  "ArrowFunctionExpression",
  "ClassDeclaration",
  "ClassExpression",
  "TSInterfaceDeclaration",
  "TSTypeAliasDeclaration",
]);

/** Types of nodes whose `typeAnnotation` is read late, into the last slot. */
const ANNOTATED: ReadonlySet<string> = new Set(["Identifier", "ObjectPattern"]);

/** What stands where something is missing. */
const MISSING = new Plain({ range: [0, 0] }, "", null);

/** A type of node: its class, and the fields that are read at once. */
interface Kind {
  readonly Kind: typeof Plain;
  readonly fields: readonly {
    readonly name: string;
    readonly missing: Plain | readonly Plain[] | null;
  }[];
}

/** For each type of node, what is known of it. */
const KINDS = new Map<string, Kind>();
for (const [type, names] of FIELDS) {
  const Kind = LAZY.has(type) ? class extends Lazy {} : class extends Plain {};
  const fields = names.map((name) => {
    const missing = name.endsWith("!")
      ? MISSING
      : name.endsWith("*")
      ? []
      : null;
    return { name: name.replace(/[!*]$/, ""), missing };
  });
  fields.forEach(({ name }, i) =>
    Object.defineProperty(Kind.prototype, name, SLOTS[i])
  );
  if (ANNOTATED.has(type)) {
    Object.defineProperty(Kind.prototype, "typeAnnotation", {
      get(this: Plain) {
        return this.slot3 ??= annotationOf(this);
      },
    });
  }
  KINDS.set(type, { Kind, fields });
}

/** What is read of a type that the table has not. */
const OTHER: Kind = { Kind: Plain, fields: [] };

/** A tree, of a file or of a part of it. */
export class Tree {
  readonly root: unknown;
  /** Part of the tree was too deep to be read: what is known is not the whole. */
  isTooDeep = false;

  constructor(root: Deno.lint.Program | Raw, parent: Plain | null = null) {
    this.root = this.#read(root as Raw, parent, 0);
  }

  /** The tree of a file. */
  get program(): Deno.lint.Program {
    return this.root as Deno.lint.Program;
  }

  /** A value of Deno's tree in this one. */
  convert(value: unknown, parent: Plain, depth: number): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (!Array.isArray(value)) return this.#read(value as Raw, parent, depth);
    const list: Plain[] = [];
    for (const each of value) {
      const node = each && this.#read(each, parent, depth);
      if (node) list.push(node);
    }
    return list;
  }

  #read(raw: Raw, parent: Plain | null, depth: number): Plain | null {
    const type = raw.type as string | undefined;
    // What has no type is nothing, and an empty one is an empty statement.
    if (!type) return null;
    if (depth > MOST_DEPTH) {
      this.isTooDeep = true;
      return null;
    }
    const { Kind, fields } = KINDS.get(type) ?? OTHER;
    const node = new Kind(raw, type, parent);
    const { length } = fields;
    const at = depth + 1;
    if (length > 0) {
      node.slot0 = this.convert(raw[fields[0].name], node, at) ??
        fields[0].missing;
    }
    if (length > 1) {
      node.slot1 = this.convert(raw[fields[1].name], node, at) ??
        fields[1].missing;
    }
    if (length > 2) {
      node.slot2 = this.convert(raw[fields[2].name], node, at) ??
        fields[2].missing;
    }
    if (length > 3) {
      node.slot3 = this.convert(raw[fields[3].name], node, at) ??
        fields[3].missing;
    }
    if (node instanceof Lazy) {
      node.tree = this;
      node.depth = depth;
    }
    return node;
  }
}

/** The type annotation of a name or a pattern, read when it is asked for. */
function annotationOf(node: Plain): unknown {
  const raw = node.denoNode.typeAnnotation as Raw | null | undefined;
  return raw ? new Tree(raw, node).root : null;
}

/** The parent of a node; the file itself has none. */
export function parentOf(node: Node): Node | undefined {
  return (node as unknown as { parent: Node | null }).parent ?? undefined;
}
