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
        if (!isFunction(member.value)) break;
        at.file.enqueue({
          node: member.value,
          scope: at.scope,
          self: node,
          made: undefined,
        });
        break;
      case "PropertyDefinition":
      case "AccessorProperty":
        if (member.value && isFunction(member.value)) {
          at.file.enqueue({
            node: member.value,
            scope: at.scope,
            self: node,
            made: undefined,
          });
        } else if (member.value) {
          const aside = { ...at, state: new State() };
          evaluate(member.value, aside);
        }
        break;
      case "StaticBlock":
        execute(member, { ...at, state: new State() });
        break;
    }
  }
}
