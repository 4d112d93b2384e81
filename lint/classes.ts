/**
 * Classes: their functions are walked each on its own, their fields and static blocks where they
 * stand, with nothing known of what is held around them.
 */
import { State } from "./state.ts";
import type { ClassNode } from "./syntax.ts";
import { isFunction } from "./syntax.ts";
import type { At } from "./walk.ts";
import { evaluate, execute } from "./walk.ts";

/** Lets the functions of a class be walked, and its fields. */
export function enqueueClass(node: ClassNode, at: At): void {
  for (const member of node.body?.body ?? []) {
    switch (member.type) {
      case "MethodDefinition":
      case "PropertyDefinition":
      case "AccessorProperty": {
        const { value } = member;
        // An overload has no body.
        if (!value || value.type === "TSEmptyBodyFunctionExpression") break;
        if (isFunction(value)) {
          const { scope } = at;
          at.file.enqueue({ node: value, scope, self: node, made: undefined });
        } else evaluate(value, { ...at, state: new State() });
        break;
      }
      case "StaticBlock":
        execute(member, { ...at, state: new State() });
        break;
    }
  }
}
