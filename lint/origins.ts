/**
 * What a name or a member is where the walk has not followed it: by its import, its declaration,
 * its type, its class, and last by what it is called.
 */
import { receiverMadeBy } from "./apis.ts";
import { importOf, moduleMember } from "./modules.ts";
import type { Binding, Scope } from "./scope.ts";
import { POOL_CLASSES } from "./smriti_api.ts";
import { State } from "./state.ts";
import type { ClassNode, Expression, Node } from "./syntax.ts";
import { bare, keyName, lastName, memberName, rootOf } from "./syntax.ts";
import { borrowed, keyOf, typedValue } from "./types.ts";
import type { Origin, Value } from "./values.ts";
import { FOREIGN, UNKNOWN } from "./values.ts";
import type { At } from "./walk.ts";
import { evaluate, frameOf } from "./walk.ts";

const POOL_NAME = /pools?$/i;
/** Pools of other things: connections, threads, objects. */
const OTHER_POOL_NAME =
  /(thread|worker|conn|connection|db|sql|pg|mysql|redis|client|browser|page|socket|agent|process|task|job|string|object|entity|sprite|particle|bullet|session|resource|instance)s?_?pools?$/i;

/** Whether something of this name is likely to be a pool of blocks. */
export function isPoolName(name: string): boolean {
  return POOL_NAME.test(name) && !OTHER_POOL_NAME.test(name);
}

/** Whether a path is the class of a pool. */
export function isPoolPath(path: string): boolean {
  return path.startsWith("smriti.") &&
    POOL_CLASSES.has(path.slice("smriti.".length));
}

/** What a binding is where the walk has no value of it. */
export function valueOfBinding(binding: Binding, at: At): Value {
  const { file } = at;
  const known = file.values.get(binding);
  if (known !== undefined) return known;
  // What comes back to itself is not known.
  file.values.set(binding, UNKNOWN);
  const value = declaredValue(binding, at);
  file.values.set(binding, value);
  return value;
}

function declaredValue(binding: Binding, at: At): Value {
  const { node, kind, scope, name } = binding;
  switch (kind) {
    case "import": {
      const { module, specifier, path } = importOf(binding);
      const value = moduleMember(module, specifier, path);
      const isFromPool = value.kind === "unknown" &&
        /pool[^/]*$/i.test(specifier) && /^[a-z]/.test(name);
      if (!isFromPool) return value;
      const named = namedPool(keyOf(at.file, binding), name, at);
      if (named.kind === "pool") named.origin.isImported = true;
      return named;
    }
    case "function":
      return node.type === "FunctionDeclaration"
        ? { kind: "function", node, scope, self: undefined }
        : UNKNOWN;
    case "class":
      return node.type === "ClassDeclaration"
        ? { kind: "class", node, scope }
        : UNKNOWN;
    case "param":
      return paramValue(binding, at);
    case "const":
    case "let":
    case "var":
    case "using":
      return node.type === "VariableDeclarator"
        ? declaratorValue(binding, node, at)
        : UNKNOWN;
  }
  return UNKNOWN;
}

/** The value of a variable by its declaration alone. */
function declaratorValue(
  binding: Binding,
  node: Deno.lint.VariableDeclarator,
  at: At,
): Value {
  const aside = elsewhere(binding.scope, at);
  if (node.init && binding.kind !== "let" && binding.kind !== "var") {
    at.engine.declare(node.id, evaluate(node.init, aside), aside);
    return aside.state.vars.get(binding) ?? UNKNOWN;
  }
  const { id } = node;
  if (id?.type !== "Identifier") return UNKNOWN;
  const typed = typedValue(at.file, binding.scope, id.typeAnnotation, id.name);
  if (typed !== undefined || !node.init) return typed ?? UNKNOWN;
  // A variable that may be given something else keeps only what cannot be a block.
  const value = evaluate(node.init, aside);
  return value.kind === "pool" || value.kind === "foreign" ? value : UNKNOWN;
}

/** The value of a parameter by its type, or of one that is called `block` in a file of ours. */
function paramValue(binding: Binding, at: At): Value {
  const aside = elsewhere(binding.scope, at);
  at.engine.declare(binding.node, undefined, aside);
  return aside.state.vars.get(binding) ?? UNKNOWN;
}

/** A parameter without a type: its name says something only where Smriti is imported. */
export function untypedParam(ident: Deno.lint.Identifier, at: At): Value {
  const isBlock = at.file.importsSmriti && ident.name === "block";
  return isBlock ? borrowed(at.file, ident, "block", false) : UNKNOWN;
}

/** A walk aside, that leaves no trace. */
function elsewhere(scope: Scope, at: At): At {
  return {
    engine: at.engine,
    file: at.file,
    frame: frameOf(scope.owner, { self: at.frame.self, isAside: true }),
    scope,
    state: new State(),
  };
}

/** What a class extends, if that is an API: of the runtime, or a pool of this package. */
export function baseOf(node: ClassNode, at: At): string | undefined {
  if (!node.superClass) return undefined;
  const key = `base ${at.file.idOf(node)}`;
  let base = at.file.values.get(key);
  if (base === undefined) {
    base = evaluate(node.superClass, elsewhere(at.scope, at), true);
    at.file.values.set(key, base);
  }
  return base.kind === "api" ? base.path : undefined;
}

/** What `this.name` is in a class. */
export function fieldValue(node: ClassNode, name: string, at: At): Value {
  const key = `field ${at.file.idOf(node)} ${name}`;
  const known = at.file.values.get(key);
  if (known !== undefined) return known;
  at.file.values.set(key, UNKNOWN);
  const value = declaredField(node, name, key, at);
  at.file.values.set(key, value);
  return value;
}

function declaredField(
  node: ClassNode,
  name: string,
  key: string,
  at: At,
): Value {
  const { file } = at;
  const scope = at.scope;
  for (const member of node.body?.body ?? []) {
    if (member.type === "PropertyDefinition") {
      if (keyName(member.key, member.computed) !== name) continue;
      const typed = typedValue(file, scope, member.typeAnnotation, name);
      if (typed !== undefined) return ownField(typed, key, at);
      if (member.value) {
        return evaluate(member.value, elsewhere(scope, at));
      }
    } else if (member.type === "MethodDefinition") {
      const { value } = member;
      if (member.kind !== "constructor") {
        if (keyName(member.key, member.computed) !== name) continue;
        if (member.kind !== "method" || value.type !== "FunctionExpression") {
          continue;
        }
        return { kind: "function", node: value, scope, self: node };
      }
      for (const param of value?.params ?? []) {
        if (param.type !== "TSParameterProperty") continue;
        const { parameter } = param;
        const ident = parameter?.type === "AssignmentPattern"
          ? parameter.left
          : parameter;
        if (ident?.type !== "Identifier" || ident.name !== name) continue;
        const typed = typedValue(file, scope, ident.typeAnnotation, name);
        return typed === undefined ? UNKNOWN : ownField(typed, key, at);
      }
      const given = value?.type === "FunctionExpression"
        ? assignedInConstructor(value, name, at)
        : undefined;
      if (given !== undefined) return given;
    }
  }
  return UNKNOWN;
}

/** The pool of a field is the class's own, whatever else has its name. */
function ownField(value: Value, key: string, at: At): Value {
  if (value.kind !== "pool") return value;
  const { name, sure, sized } = value.origin;
  return {
    kind: "pool",
    origin: at.file.originOf(key, () => ({ name, sure, sized })),
  };
}

/** `this.name = value`, as a statement of the constructor itself. */
function assignedInConstructor(
  node: Deno.lint.FunctionExpression,
  name: string,
  at: At,
): Value | undefined {
  for (const statement of node.body?.body ?? []) {
    if (statement.type !== "ExpressionStatement") continue;
    const { expression } = statement;
    if (expression.type !== "AssignmentExpression") continue;
    const { left } = expression;
    if (left.type !== "MemberExpression" || memberName(left) !== name) continue;
    if (bare(left.object).type !== "ThisExpression") continue;
    const scope = at.file.scopeOf(node, at.scope, node, (scope) => {
      for (const param of node.params) scope.declare(param, "param", param);
    });
    return evaluate(expression.right, elsewhere(scope, at));
  }
  return undefined;
}

/** The pool that an expression is, by its value or else by what it is called. */
export function poolOf(
  value: Value,
  node: Expression,
  at: At,
): Origin | undefined {
  if (value.kind === "pool") return value.origin;
  if (value.kind === "self" && isPoolPath(baseOf(value.node, at) ?? "")) {
    const key = `self ${at.file.idOf(value.node)}`;
    return at.file.originOf(
      key,
      () => ({ name: "this", sure: true, sized: false }),
    );
  }
  const isOpen = value.kind === "unknown" || value.kind === "nothing" ||
    value.kind === "api" && !receiverMadeBy(value.path);
  const name = lastName(node);
  if (!isOpen || name === undefined || !isPoolName(name)) return undefined;
  const key = keyOfExpression(bare(node), at);
  const named = namedPool(key ?? `place ${at.file.idOf(node)}`, name, at);
  return named.kind === "pool" ? named.origin : undefined;
}

/** The pool that something of this name is. */
export function namedPool(key: string, name: string, at: At): Value {
  return {
    kind: "pool",
    origin: at.file.originOf(key, () => ({ name, sure: false, sized: false })),
  };
}

/** The same for two expressions that mean the same variable or member. */
function keyOfExpression(node: Expression, at: At): string | undefined {
  if (node.type === "Identifier") {
    const binding = at.scope.lookup(node.name);
    return binding === undefined
      ? `global ${node.name}`
      : keyOf(at.file, binding);
  }
  const root = rootOf(node);
  if (root === undefined || !isStaticPath(node)) return undefined;
  const text = at.file.textOf(node).replaceAll(/[?!\s]/g, "");
  if (root.type === "ThisExpression") {
    const { self } = at.frame;
    return `this ${self === undefined ? "" : at.file.idOf(self)} ${text}`;
  }
  const binding = at.scope.lookup(root.name);
  return `${binding === undefined ? "global" : at.file.idOf(binding)} ${text}`;
}

/** Whether an expression is `a.b.c`, with no name that is computed. */
function isStaticPath(node: Node): boolean {
  let inner = node;
  for (;;) {
    switch (inner.type) {
      case "Identifier":
      case "ThisExpression":
        return true;
      case "ChainExpression":
      case "TSNonNullExpression":
      case "TSAsExpression":
        inner = inner.expression;
        break;
      case "MemberExpression":
        if (memberName(inner) === undefined) return false;
        inner = inner.object;
        break;
      default:
        return false;
    }
  }
}

/** What a foreign value, or nothing known, gives for its members and calls. */
export function descendant(value: Value): Value {
  return value.kind === "foreign" ? FOREIGN : UNKNOWN;
}
