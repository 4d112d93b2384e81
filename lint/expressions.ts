/**
 * What an expression gives, and what evaluating it does to leases and operations.
 *
 * Walks in the order in which the language evaluates. Calls are in `calls.ts`, members in
 * `members.ts`; a node that it does not know is unknown, and no more.
 */
import { callExpression, evaluateAll, newExpression } from "./calls.ts";
import { escape } from "./closures.ts";
import { readContainer } from "./containers.ts";
import { checkUse, keep, take } from "./leases.ts";
import { asText, memberOf, reportNotAwaited } from "./members.ts";
import { api, moduleMember, moduleOf } from "./modules.ts";
import { valueOfBinding } from "./origins.ts";
import { assign, kindOf } from "./patterns.ts";
import type { Binding } from "./scope.ts";
import { awaitValue } from "./promises.ts";
import { fork, refine } from "./conditions.ts";
import { enqueueClass } from "./classes.ts";
import { OWN_NAMES } from "./smriti_api.ts";
import { EMPTY, HELD } from "./state.ts";
import type { Expression, Node } from "./syntax.ts";
import {
  isNothing,
  isNumber,
  keyName,
  memberName,
  stringOf,
} from "./syntax.ts";
import { parentOf } from "./tree.ts";
import { typedValue } from "./types.ts";
import type { Value } from "./values.ts";
import {
  blockOf,
  FALSE,
  listOf,
  NOTHING,
  NULL,
  TRUE,
  union,
  UNKNOWN,
} from "./values.ts";
import type { At } from "./walk.ts";
import { evaluate, isOuter } from "./walk.ts";

/** Literals whose value decides conditions. */
const CONSTANTS: ReadonlyMap<string, Value> = new Map([
  ["null", NULL],
  ["true", TRUE],
  ["false", FALSE],
]);

/** What an expression gives, for `evaluate` of `walk.ts`. */
export function valueOf(
  node: Expression | Deno.lint.PrivateIdentifier,
  at: At,
  isPeek: boolean,
): Value {
  switch (node.type) {
    case "Identifier":
      return identifier(node, at, isPeek);
    case "ThisExpression":
      return at.frame.self === undefined
        ? UNKNOWN
        : { kind: "self", node: at.frame.self };
    case "Literal":
      return CONSTANTS.get(node.raw) ?? UNKNOWN;
    case "MemberExpression":
      return member(node, at, isPeek);
    case "CallExpression":
      return callExpression(node, at);
    case "NewExpression":
      return newExpression(node, at);
    case "AwaitExpression":
      return awaitExpression(node, at);
    case "AssignmentExpression":
      return assignment(node, at);
    case "LogicalExpression":
      return logical(node, at);
    case "ConditionalExpression":
      return conditional(node, at);
    case "BinaryExpression":
      return binary(node, at);
    case "UnaryExpression":
      evaluate(node.argument, at, true);
      return node.operator === "void" ? NOTHING : UNKNOWN;
    case "UpdateExpression": {
      const before = evaluate(node.argument, at, true);
      forgetConstant(node.argument, before, at);
      return UNKNOWN;
    }
    case "SequenceExpression":
      return evaluateAll(node.expressions, at).at(-1) ?? UNKNOWN;
    case "TemplateLiteral":
      for (const each of node.expressions) {
        asText(each, evaluate(each, at), "a template string", at);
      }
      return UNKNOWN;
    case "TaggedTemplateExpression":
      evaluate(node.tag, at);
      for (const each of node.quasi?.expressions ?? []) {
        escape(evaluate(each, at), at);
      }
      return UNKNOWN;
    case "ArrayExpression":
      return array(node, at);
    case "ObjectExpression":
      return object(node, at);
    case "ArrowFunctionExpression":
    case "FunctionExpression": {
      const self = node.type === "ArrowFunctionExpression"
        ? at.frame.self
        : undefined;
      return functionValue(node, self, at);
    }
    case "ClassExpression":
      enqueueClass(node, at);
      return { kind: "class", node, scope: at.scope };
    case "YieldExpression": {
      const value = evaluate(node.argument, at);
      at.frame.yields.push(value);
      escape(value, at);
      return UNKNOWN;
    }
    case "ChainExpression":
    case "TSNonNullExpression":
    case "TSSatisfiesExpression":
    case "TSInstantiationExpression":
      return evaluate(node.expression, at, isPeek);
    case "TSAsExpression":
    case "TSTypeAssertion": {
      const value = evaluate(node.expression, at, isPeek);
      if (value.kind !== "unknown") return value;
      const typed = typedValue(at.file, at.scope, node.typeAnnotation, "");
      if (typed === undefined) return value;
      take(typed, at);
      return typed;
    }
    case "ImportExpression": {
      evaluate(node.source, at);
      const specifier = stringOf(node.source) ?? "";
      return moduleMember(moduleOf(specifier), specifier, []);
    }
    case "JSXElement":
    case "JSXFragment":
      return jsx(node, at);
  }
  return UNKNOWN;
}

function identifier(
  node: Deno.lint.Identifier,
  at: At,
  isPeek: boolean,
): Value {
  const { name } = node;
  if (name === "undefined") return NOTHING;
  const binding = at.scope.lookup(name);
  if (binding === undefined) {
    return OWN_NAMES.has(name) ? api(["smriti", name]) : api([name]);
  }
  const value = at.state.vars.get(binding) ?? valueAround(binding, at);
  if (isPeek) return value;
  if (at.state.stored.size > 0) readContainer(binding, node, at);
  if (value.kind === "view") checkUse(value.leases, `\`${name}\``, node, at);
  return value;
}

/** The value of a name that this activation has noted nothing of. */
function valueAround(binding: Binding, at: At): Value {
  const isOwn = !at.frame.isAside && !isOuter(binding, at) &&
    /^(const|param|catch)$/.test(binding.kind);
  return isOwn ? UNKNOWN : valueOfBinding(binding, at);
}

function member(
  node: Deno.lint.MemberExpression,
  at: At,
  isPeek: boolean,
): Value {
  const object = evaluate(
    node.object,
    at,
    isPeek && node.object.type !== "Identifier",
  );
  const name = memberName(node);
  if (node.computed && name === undefined) {
    evaluate(node.property as Expression, at);
    return memberOf(
      object,
      isNumber(node.property) ? at.file.textOf(node.property) : "[]",
      node,
      at,
    );
  }
  return memberOf(object, name ?? "", node, at);
}

function awaitExpression(node: Deno.lint.AwaitExpression, at: At): Value {
  return awaitValue(evaluate(node.argument, at), at);
}

function assignment(node: Deno.lint.AssignmentExpression, at: At): Value {
  const { left, right, operator } = node;
  if (operator === "=") {
    const value = evaluate(right, at);
    assign(left, value, at);
    return value;
  }
  const before = evaluate(left, at, true);
  if (operator === "??=" || operator === "||=" || operator === "&&=") {
    let given: Value = UNKNOWN;
    fork(at, (yes) => {
      refine(left, operator === "&&=", yes);
      given = evaluate(right, yes);
      assign(left, given, yes);
    }, (no) => refine(left, operator !== "&&=", no));
    return union(before, given);
  }
  asText(left, before, `\`${operator}\``, at);
  asText(right, evaluate(right, at), `\`${operator}\``, at);
  forgetConstant(left, before, at);
  return UNKNOWN;
}

/** After `+=` and `++` a variable is not what it was. */
function forgetConstant(target: Expression, before: Value, at: At): void {
  if (before.kind === "boolean" || before.kind === "nothing") {
    assign(target, UNKNOWN, at);
  }
}

function logical(node: Deno.lint.LogicalExpression, at: At): Value {
  const { left, right, operator } = node;
  const first = evaluate(left, at, operator === "&&");
  let second: Value = UNKNOWN;
  const isAnd = operator === "&&";
  fork(at, (yes) => {
    refine(left, isAnd, yes);
    // What is empty holds nothing.
    if (!isAnd && first.kind === "block") {
      for (const lease of first.leases) yes.state.leases.set(lease, EMPTY);
    }
    second = evaluate(right, yes);
  }, (no) => refine(left, !isAnd, no));
  if (isAnd) return union(NOTHING, second);
  // `using block = pool.tryAcquire() ?? pool.acquire()`
  if (second.kind === "acquiring" && isBoundByUsing(node)) {
    reportNotAwaited(second, right, at);
  }
  if (first.kind === "nothing") return second;
  return either(
    first.kind === "block" ? { ...first, maybe: false } : first,
    second,
    at,
  );
}

function isBoundByUsing(node: Expression): boolean {
  const declaration = parentOf(parentOf(node) ?? node);
  return parentOf(node)?.type === "VariableDeclarator" &&
    declaration?.type === "VariableDeclaration" &&
    kindOf(declaration) === "using";
}

/** One of two: two blocks of which there is one are one lease; what is not known is let go. */
function either(first: Value, second: Value, at: At): Value {
  const both = union(first, second);
  if (both.kind === "unknown") {
    escape(first, at);
    escape(second, at);
    return both;
  }
  if (both.kind !== "block" || both.leases.length !== 2) return both;
  const isFresh = both.leases.every((lease) => at.frame.fresh.includes(lease));
  if (!isFresh) return both;
  const one = both.leases[0]!;
  const other = both.leases[1]!;
  at.state.leases.delete(other);
  keep(other, at);
  at.state.leases.set(one, HELD);
  return blockOf(one, both.maybe);
}

function conditional(node: Deno.lint.ConditionalExpression, at: At): Value {
  evaluate(node.test, at, true);
  let [first, second]: [Value, Value] = [UNKNOWN, UNKNOWN];
  fork(at, (yes) => {
    refine(node.test, true, yes);
    first = evaluate(node.consequent, yes);
  }, (no) => {
    refine(node.test, false, no);
    second = evaluate(node.alternate, no);
  });
  return either(first, second, at);
}

function binary(node: Deno.lint.BinaryExpression, at: At): Value {
  // Long sums lean to the left: walked down in a loop, not by recursion.
  const chain: Deno.lint.BinaryExpression[] = [];
  let first: Expression | Deno.lint.PrivateIdentifier = node;
  while (first.type === "BinaryExpression") {
    chain.push(first);
    first = first.left;
  }
  const isCompared = ({ operator, right }: Deno.lint.BinaryExpression) =>
    /^[!=]==?$|^in(stanceof)?$/.test(operator) || isNothing(right);
  const lowest = chain[chain.length - 1]!;
  const value = evaluate(first, at, isCompared(lowest));
  if (first.type !== "PrivateIdentifier" && !isCompared(lowest)) {
    asText(first, value, `\`${lowest.operator}\``, at);
  }
  for (const each of chain.reverse()) {
    const right = evaluate(each.right, at, isCompared(each));
    if (!isCompared(each)) {
      asText(each.right, right, `\`${each.operator}\``, at);
    }
  }
  return UNKNOWN;
}

function array(node: Deno.lint.ArrayExpression, at: At): Value {
  let isMany = false;
  let copied: Value | undefined;
  const items = node.elements.flatMap((each): Value[] => {
    if (each?.type !== "SpreadElement") return [evaluate(each, at)];
    isMany = true;
    const value = evaluate(each.argument, at);
    asText(each.argument, value, "a spread", at);
    switch (value.kind) {
      case "view":
        return [];
      case "list":
        return [...value.items];
      case "blocks":
        copied = value;
        if (node.elements.length > 1) escape(value, at);
        return [];
    }
    return [value];
  });
  // `[...blocks]` has the same blocks.
  if (copied !== undefined && node.elements.length === 1) return copied;
  return listOf(items, isMany);
}

function object(node: Deno.lint.ObjectExpression, at: At): Value {
  const members = new Map<string, Value>();
  for (const each of node.properties) {
    if (each.type === "SpreadElement") {
      const value = evaluate(each.argument, at);
      if (value.kind !== "record") escape(value, at);
      else for (const [name, own] of value.members) members.set(name, own);
      continue;
    }
    if (each.computed) evaluate(each.key as Expression, at);
    const value = evaluate(each.value as Expression, at);
    members.set(keyName(each.key, each.computed) ?? `[${members.size}]`, value);
  }
  return { kind: "record", members };
}

function functionValue(
  node: Deno.lint.ArrowFunctionExpression | Deno.lint.FunctionExpression,
  self: At["frame"]["self"],
  at: At,
): Value {
  const { file, scope, state } = at;
  if (file.isNew(node)) {
    // Without leases the function needs no copy of the state it was made in.
    const made = state.leases.size > 0 ? state.clone() : undefined;
    file.enqueue({ node, scope, self, made });
  }
  return { kind: "function", node, scope, self };
}

function jsx(node: Node, at: At): Value {
  switch (node.type) {
    case "JSXElement":
      for (const each of node.openingElement?.attributes ?? []) {
        if (each.type === "JSXSpreadAttribute") {
          escape(evaluate(each.argument, at), at);
        } else if (each.value) jsx(each.value, at);
      }
      for (const each of node.children) jsx(each, at);
      break;
    case "JSXFragment":
      for (const each of node.children) jsx(each, at);
      break;
    case "JSXExpressionContainer":
      if (node.expression?.type !== "JSXEmptyExpression") {
        escape(evaluate(node.expression, at), at);
      }
      break;
  }
  return UNKNOWN;
}
