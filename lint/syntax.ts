/**
 * The syntax tree of `deno lint` as the analysis reads it: shorter names for its types, and the
 * questions that are asked of nodes everywhere.
 *
 * Knows nothing of pools and blocks. The nodes are those of `tree.ts`.
 */
import { parentOf } from "./tree.ts";

/** Any node. */
export type Node = Deno.lint.Node | Deno.lint.TSParameterProperty;
/** Any expression. */
export type Expression = Deno.lint.Expression;
/** Any statement. */
export type Statement = Deno.lint.Statement;
/** A function with a body of its own. */
export type FunctionNode =
  | Deno.lint.FunctionDeclaration
  | Deno.lint.FunctionExpression
  | Deno.lint.ArrowFunctionExpression;
/** A class, named or not. */
export type ClassNode = Deno.lint.ClassDeclaration | Deno.lint.ClassExpression;
/** A call, with or without `new`. */
export type Call = Deno.lint.CallExpression | Deno.lint.NewExpression;
/** What stands between the parentheses of a call. */
export type Argument = Expression | Deno.lint.SpreadElement;

/** Whether the node is a function with a body of its own. */
export function isFunction(
  node: Node | null | undefined,
): node is FunctionNode {
  const type = node?.type;
  return type === "ArrowFunctionExpression" || type === "FunctionExpression" ||
    type === "FunctionDeclaration";
}

/** The expression without what only the type checker or the parser sees: `!`, `as`, `?.` chains. */
export function bare(node: Expression): Expression {
  let inner = node;
  for (;;) {
    switch (inner.type) {
      case "ChainExpression":
      case "TSAsExpression":
      case "TSNonNullExpression":
      case "TSSatisfiesExpression":
      case "TSTypeAssertion":
      case "TSInstantiationExpression":
        inner = inner.expression;
        break;
      default:
        return inner;
    }
  }
}

/** The text of a string literal; `undefined` for everything else. */
export function stringOf(node: Node | null | undefined): string | undefined {
  if (node?.type !== "Literal") return undefined;
  const { raw } = node;
  return /^["']/.test(raw) ? unquoted(raw) : undefined;
}

/** What a string literal without escapes says; with them it is no name of anything here. */
function unquoted(raw: string): string {
  return raw.slice(1, -1);
}

/** Whether the node is the literal `null` or the name `undefined`. */
export function isNothing(node: Expression): boolean {
  return node.type === "Literal" && node.raw === "null" ||
    node.type === "Identifier" && node.name === "undefined";
}

/** Whether the node is a literal number. */
export function isNumber(node: Node): boolean {
  return node.type === "Literal" && /^\d/.test(node.raw ?? "");
}

/**
 * What a member access asks for: `a.b` and `a["b"]` give `b`, `a.#b` gives `#b`,
 * `a[Symbol.dispose]` gives `@dispose`; `undefined` for a computed name.
 */
export function memberName(
  node: Deno.lint.MemberExpression,
): string | undefined {
  const { property } = node;
  if (property.type === "PrivateIdentifier") return `#${property.name}`;
  if (!node.computed) {
    return property.type === "Identifier" ? property.name : undefined;
  }
  if (
    property.type === "MemberExpression" && !property.computed &&
    property.object.type === "Identifier" &&
    property.object.name === "Symbol" && property.property.type === "Identifier"
  ) {
    return `@${property.property.name}`;
  }
  return stringOf(property);
}

/** The name of a key in an object, a pattern, a class or an interface. */
export function keyName(
  key: Node | null | undefined,
  computed: boolean,
): string | undefined {
  if (key?.type === "PrivateIdentifier") return `#${key.name}`;
  if (!computed && key?.type === "Identifier") return key.name;
  return stringOf(key);
}

/** The last name in an expression: `conn` of `this.#conn`, of `a.conn` and of `conn`. */
export function lastName(node: Node): string | undefined {
  switch (node.type) {
    case "Identifier":
      return node.name;
    case "MemberExpression":
      return memberName(node)?.replace("#", "");
    case "ChainExpression":
    case "TSNonNullExpression":
    case "TSAsExpression":
    case "AwaitExpression":
      return lastName(
        node.type === "AwaitExpression" ? node.argument : node.expression,
      );
    case "CallExpression":
      return lastName(node.callee);
  }
  return undefined;
}

/** The identifier at the root of `a.b[c].d`, or `this`. */
export function rootOf(
  node: Expression,
): Deno.lint.Identifier | Deno.lint.ThisExpression | undefined {
  let inner = bare(node);
  while (inner.type === "MemberExpression") inner = bare(inner.object);
  return inner.type === "Identifier" || inner.type === "ThisExpression"
    ? inner
    : undefined;
}

/** The function that a node stands in, by its parents; `undefined` at the top of the file. */
export function functionAround(node: Node): FunctionNode | undefined {
  let at: Node | undefined = parentOf(node);
  while (at !== undefined) {
    if (isFunction(at)) return at;
    at = parentOf(at);
  }
  return undefined;
}

/**
 * The statements of a block, a function's body, a module or a file.
 *
 * The tree is not always as its types say: an empty statement is nothing at all and hides those
 * behind it, and the body of a static block is a block.
 */
export function statementsOf(
  node: Node | null | undefined,
): readonly Statement[] {
  switch (node?.type) {
    case "Program":
    case "BlockStatement":
    case "TSModuleBlock":
      return node.body as readonly Statement[];
    case "StaticBlock":
    case "TSModuleDeclaration":
      return statementsOf(node.body as unknown as Node);
  }
  return [];
}

/** Whether code follows the last of these nodes that the tree does not show. */
export function hidesRest(
  nodes: readonly Node[],
  end: number,
  text: string,
): boolean {
  const last = nodes[nodes.length - 1];
  if (last === undefined) return false;
  const rest = text.slice(last.range[1], end);
  if (/^\s*}?$/.test(rest)) return false;
  return /[^\s;})]/.test(rest.replaceAll(/\/\*[^]*?\*\/|\/\/.*/g, ""));
}
