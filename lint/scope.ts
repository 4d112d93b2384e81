/**
 * Which declaration a name means: scopes as the language nests them, and the bindings in them.
 *
 * Says where a name was declared, never what its value is. Names that no scope has are globals.
 */
import type { FunctionNode, Node, Statement } from "./syntax.ts";

/** How a name came to be. */
export type BindingKind =
  | "import"
  | "const"
  | "let"
  | "var"
  | "using"
  | "param"
  | "function"
  | "class"
  | "type"
  | "catch";

/** A name that a scope declares. */
export interface Binding {
  readonly name: string;
  readonly kind: BindingKind;
  /** The identifier that is declared. */
  readonly ident: Node;
  /** The import, declarator, function, class or type that declares it. */
  readonly node: Node;
  readonly scope: Scope;
}

/** Names that are searched one by one. */
const FEW = 8;

/** The names that one block, function or file declares. */
export class Scope {
  /** The scope around this one. */
  readonly parent: Scope | undefined;
  /** The function or file whose variables live here. */
  readonly owner: FunctionNode | Deno.lint.Program;
  /** The bindings in the order of their declarations. */
  readonly bindings: Binding[] = [];

  #byName: Map<string, Binding> | undefined;

  constructor(
    parent: Scope | undefined,
    owner: FunctionNode | Deno.lint.Program,
  ) {
    this.parent = parent;
    this.owner = owner;
  }

  /** The binding of a name here or in the scopes around. */
  lookup(name: string): Binding | undefined {
    return this.#own(name) ?? this.parent?.lookup(name);
  }

  /** Declares the names of a pattern. */
  declare(pattern: Node | null, kind: BindingKind, node: Node): void {
    if (pattern?.type === "Identifier") this.#add(pattern, kind, node);
    else {for (const ident of identifiersOf(pattern)) {
        this.#add(ident, kind, node);
      }}
  }

  /** Declares what the statements of a block declare in it, before any of them runs. */
  hoist(statements: readonly Statement[]): void {
    for (const statement of statements) this.#hoistOne(statement);
  }

  #hoistOne(node: Statement | Node | null): void {
    switch (node?.type) {
      case "VariableDeclaration": {
        const kind = node.kind === "await using" ? "using" : node.kind;
        const home = kind === "var" ? this.#functionScope() : this;
        for (const each of node.declarations) home.declare(each.id, kind, each);
        return;
      }
      case "FunctionDeclaration":
      case "TSDeclareFunction":
        if (node.id) this.#add(node.id, "function", node);
        return;
      case "ClassDeclaration":
        if (node.id) this.#add(node.id, "class", node);
        return;
      case "ImportDeclaration":
        for (const each of node.specifiers) {
          this.#add(each.local, "import", each);
        }
        return;
      case "TSImportEqualsDeclaration":
        this.#add(node.id, "import", node);
        return;
      case "ExportNamedDeclaration":
      case "ExportDefaultDeclaration":
        if (node.declaration) this.#hoistOne(node.declaration);
        return;
      case "TSInterfaceDeclaration":
      case "TSTypeAliasDeclaration":
      case "TSEnumDeclaration":
        this.#add(node.id, "type", node);
        return;
      case "TSModuleDeclaration":
        if (node.id?.type === "Identifier") this.#add(node.id, "type", node);
        return;
      case "LabeledStatement":
        this.#hoistOne(node.body);
    }
  }

  #own(name: string): Binding | undefined {
    if (this.#byName !== undefined) return this.#byName.get(name);
    for (const each of this.bindings) if (each.name === name) return each;
    return undefined;
  }

  #functionScope(): Scope {
    // deno-lint-ignore no-this-alias
    let scope: Scope = this;
    while (scope.parent !== undefined && scope.parent.owner === this.owner) {
      scope = scope.parent;
    }
    return scope;
  }

  #add(ident: Deno.lint.Identifier, kind: BindingKind, node: Node): void {
    const { name } = ident;
    const known = this.#own(name);
    // A value and a type may share a name, and then the value is what code means.
    if (known !== undefined && (kind === "type" || known.kind === kind)) return;
    const binding = { name, kind, ident, node, scope: this };
    if (known !== undefined) {
      this.bindings.splice(this.bindings.indexOf(known), 1);
    }
    this.bindings.push(binding);
    // Most scopes have a few names, the file may have hundreds.
    if (this.#byName === undefined && this.bindings.length > FEW) {
      this.#byName = new Map(this.bindings.map((each) => [each.name, each]));
    } else this.#byName?.set(name, binding);
  }
}

/** The identifiers that a pattern binds, in its order. */
function identifiersOf(
  pattern: Node | null | undefined,
): Deno.lint.Identifier[] {
  const found: Deno.lint.Identifier[] = [];
  const pending: (Node | null | undefined)[] = [pattern];
  while (pending.length > 0) {
    const node = pending.pop();
    switch (node?.type) {
      case "Identifier":
        found.push(node);
        break;
      case "ArrayPattern":
        pending.push(...node.elements);
        break;
      case "ObjectPattern":
        for (const each of node.properties) {
          pending.push(each.type === "Property" ? each.value : each.argument);
        }
        break;
      case "AssignmentPattern":
        pending.push(node.left);
        break;
      case "RestElement":
        pending.push(node.argument);
        break;
      case "TSParameterProperty":
        pending.push(node.parameter);
        break;
    }
  }
  return found;
}
