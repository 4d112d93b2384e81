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
const MOST_DEPTH = 1_000;

const NONE: readonly string[] = [];

/** For each type of node, the fields that are read. Other types have none. */
const FIELDS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    Program: "body",
    ImportDeclaration: "source specifiers",
    ImportSpecifier: "imported local",
    ImportDefaultSpecifier: "local",
    ImportNamespaceSpecifier: "local",
    TSImportEqualsDeclaration: "id",
    ExportNamedDeclaration: "declaration",
    ExportDefaultDeclaration: "declaration",
    VariableDeclaration: "kind declare declarations",
    VariableDeclarator: "id init",
    FunctionDeclaration: "id async generator",
    FunctionExpression: "id async generator",
    ArrowFunctionExpression: "async generator",
    TSDeclareFunction: "id",
    ClassDeclaration: "id superClass",
    ClassExpression: "id superClass",
    ClassBody: "body",
    MethodDefinition: "kind computed key value",
    PropertyDefinition: "computed key value typeAnnotation",
    AccessorProperty: "computed key value",
    StaticBlock: "body",
    TSParameterProperty: "parameter",
    BlockStatement: "body",
    TSModuleBlock: "body",
    TSModuleDeclaration: "id body",
    ReturnStatement: "argument",
    ThrowStatement: "argument",
    LabeledStatement: "label body",
    BreakStatement: "label",
    ContinueStatement: "label",
    IfStatement: "test consequent alternate",
    SwitchStatement: "discriminant cases",
    SwitchCase: "test consequent",
    WhileStatement: "test body",
    DoWhileStatement: "test body",
    ForStatement: "init test update body",
    ForInStatement: "left right body",
    ForOfStatement: "left right body",
    ExpressionStatement: "expression",
    TryStatement: "block handler finalizer",
    CatchClause: "param body",
    WithStatement: "object body",
    ArrayExpression: "elements",
    ObjectExpression: "properties",
    Property: "computed shorthand key value",
    SpreadElement: "argument",
    BinaryExpression: "operator left right",
    LogicalExpression: "operator left right",
    AssignmentExpression: "operator left right",
    UnaryExpression: "operator argument",
    UpdateExpression: "argument",
    ConditionalExpression: "test consequent alternate",
    SequenceExpression: "expressions",
    CallExpression: "callee arguments",
    NewExpression: "callee arguments",
    MemberExpression: "computed object property",
    ChainExpression: "expression",
    TSNonNullExpression: "expression",
    TSSatisfiesExpression: "expression",
    TSInstantiationExpression: "expression",
    TSAsExpression: "expression typeAnnotation",
    TSTypeAssertion: "expression typeAnnotation",
    TemplateLiteral: "expressions",
    TaggedTemplateExpression: "tag quasi",
    AwaitExpression: "argument",
    YieldExpression: "argument",
    ImportExpression: "source",
    Identifier: "name typeAnnotation",
    PrivateIdentifier: "name",
    Literal: "raw",
    AssignmentPattern: "left right",
    ArrayPattern: "elements",
    ObjectPattern: "properties typeAnnotation",
    RestElement: "argument",
    JSXElement: "openingElement children",
    JSXFragment: "children",
    JSXOpeningElement: "attributes",
    JSXAttribute: "value",
    JSXSpreadAttribute: "argument",
    JSXExpressionContainer: "expression",
    TSTypeAnnotation: "typeAnnotation",
    TSUnionType: "types",
    TSIntersectionType: "types",
    TSTypeOperator: "typeAnnotation",
    TSArrayType: "elementType",
    TSTypeLiteral: "members",
    TSPropertySignature: "computed key typeAnnotation",
    TSTypeReference: "typeName typeArguments",
    TSTypeParameterInstantiation: "params",
    TSQualifiedName: "left right",
    TSImportType: "argument qualifier",
    TSLiteralType: "literal",
    TSInterfaceDeclaration: "id",
    TSInterfaceBody: "body",
    TSTypeAliasDeclaration: "id",
    TSEnumDeclaration: "id",
  }).map(([type, fields]) => [type, fields.split(" ")]),
);

type Raw = Readonly<Record<string, unknown>>;

/** A node as it is read. */
class Plain {
  readonly type: string;
  readonly parent: Plain | null;
  readonly #raw: Raw;

  constructor(raw: Raw, type: string, parent: Plain | null) {
    this.type = type;
    this.parent = parent;
    this.#raw = raw;
  }

  /** Start and end in the text, in UTF-16 units. */
  get range(): Deno.lint.Range {
    return this.#raw.range as Deno.lint.Range;
  }
}

/** A node of which much is never looked into: its larger fields are read when they are asked for. */
class Lazy extends Plain {
  readonly #read: (field: string) => unknown;
  #body: unknown;
  #params: unknown;
  #typeAnnotation: unknown;

  constructor(raw: Raw, type: string, parent: Plain | null, read: (node: Plain, field: string) => unknown) {
    super(raw, type, parent);
    this.#read = (field) => read(this, field) ?? null;
  }

  get body(): unknown {
    return this.#body ??= this.#read("body");
  }

  get params(): unknown {
    return this.#params ??= this.#read("params");
  }

  get typeAnnotation(): unknown {
    return this.#typeAnnotation ??= this.#read("typeAnnotation");
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

/** The tree of a file. */
export class Tree {
  readonly program: Deno.lint.Program;
  /** Part of the tree was too deep to be read: what is known is not the whole. */
  isTooDeep = false;

  constructor(program: Deno.lint.Program) {
    this.program = this.#read(
      program as unknown as Raw,
      null,
      0,
    ) as unknown as Deno.lint.Program;
  }

  /** A value of Deno's tree in this one. */
  #convert(value: unknown, parent: Plain, depth: number): unknown {
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
    const node = LAZY.has(type)
      ? new Lazy(raw, type, parent, (node, field) => this.#convert(raw[field], node, depth + 1))
      : new Plain(raw, type, parent);
    const fields = node as unknown as Record<string, unknown>;
    for (const field of FIELDS.get(type) ?? NONE) {
      fields[field] = this.#convert(raw[field], node, depth + 1);
    }
    if (type === "Literal" && /^["']/.test(String(fields.raw))) {
      fields.value = raw.value;
    }
    return node;
  }
}

/** The parent of a node; the file itself has none. */
export function parentOf(node: Node): Node | undefined {
  return (node as unknown as { parent: Node | null }).parent ?? undefined;
}
