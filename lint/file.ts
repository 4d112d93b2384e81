/**
 * One file under analysis: its text, its scopes, its leases and operations by place, the functions
 * still to be walked, and what was found so far.
 *
 * Owns identity (the same place is the same lease, however often it is walked) and the budget that
 * bounds the work; it walks nothing itself.
 */
import type { Finding, Words } from "./findings.ts";
import { Findings } from "./findings.ts";
import { hasOtherPools } from "./apis.ts";
import { Scope } from "./scope.ts";
import type { Binding } from "./scope.ts";
import { isSmritiModule } from "./smriti_api.ts";
import type { State } from "./state.ts";
import type { ClassNode, FunctionNode, Node } from "./syntax.ts";
import { stringOf } from "./syntax.ts";
import type { Lease, Operation, Origin, RuleName, Value } from "./values.ts";

/** Steps of one walk of one function, the functions it calls included. */
const MOST_STEPS = 60_000;
/** Nodes inside of nodes that are looked at, those of called functions included. */
const MOST_NESTED = 300;
/** A function to be walked on its own. */
export interface Task {
  readonly node: FunctionNode;
  readonly scope: Scope;
  readonly self: ClassNode | undefined;
  /** What was known where it was made. */
  readonly made: State | undefined;
}

/** What a lease is from its beginning. */
export type LeaseFacts =
  & Pick<Lease, "origin" | "owner" | "many">
  & Partial<Pick<Lease, "isVague">>;

/** One file under analysis. */
export class File {
  readonly program: Deno.lint.Program;
  readonly text: string;
  readonly findings: Findings;
  /** Something of this package is imported. */
  readonly importsSmriti: boolean;
  /** A package with pools of its own is imported. */
  readonly importsOthers: boolean;
  /** Leases of which a view was reported to be kept. */
  readonly kept: Set<Lease> = new Set();
  /** Functions that were walked as part of another. */
  readonly inlined: Set<FunctionNode> = new Set();
  readonly values: Map<Binding | string, Value> = new Map();
  readonly tasks: Task[] = [];
  /** Names of generator functions. */
  readonly generators: string[] = [];
  /** What the parameters of a function are, where its caller is known. */
  readonly given: Map<FunctionNode, readonly Value[]> = new Map();

  readonly #ofInterest = new Map<FunctionNode, boolean>();
  readonly #queued = new Set<FunctionNode>();
  readonly #scopes = new Map<Node, Scope>();
  readonly #leases = new Map<Node, Lease>();
  readonly #twins = new Map<Lease, Lease>();
  readonly #elements = new Map<string, Lease>();
  readonly #operations = new Map<Node, Operation[]>();
  readonly #origins = new Map<string, Origin>();
  readonly #ids = new Map<object, number>();
  #steps = 0;
  #nested = 0;

  constructor(program: Deno.lint.Program, text: string) {
    this.program = program;
    this.text = text;
    const modules = program.body.flatMap((node) =>
      node.type === "ImportDeclaration" ? stringOf(node.source) ?? [] : []
    );
    for (
      const [, name] of text.matchAll(/\b(?:require|import)\(["']([^"']+)/g)
    ) {
      modules.push(name!);
    }
    this.importsSmriti = modules.some(isSmritiModule);
    this.importsOthers = modules.some(hasOtherPools);
    this.findings = new Findings(this.importsSmriti, this.importsOthers);
  }

  /** Notes a mistake; `leases` are those it is about. */
  report(
    rule: RuleName,
    node: Node,
    words: Words,
    leases: readonly Lease[],
    fix?: Finding["fix"],
  ): void {
    const origins = leases.map(({ origin }) => origin);
    this.findings.add({ rule, range: node.range, ...words, origins, fix });
  }

  /** The text of a node. */
  textOf(node: Node): string {
    const [start, end] = node.range;
    return this.text.slice(start, end);
  }

  /** Whether the text of a function has one of some words; looked at once. */
  isOfInterest(node: FunctionNode, words: RegExp): boolean {
    let is = this.#ofInterest.get(node);
    if (is === undefined) {
      is = words.test(this.textOf(node));
      this.#ofInterest.set(node, is);
    }
    return is;
  }

  /** The line of a node, from 1. */
  lineOf(node: Node): number {
    let line = 1;
    const end = node.range[0];
    for (let at = this.text.indexOf("\n"); at >= 0 && at < end;) {
      line++;
      at = this.text.indexOf("\n", at + 1);
    }
    return line;
  }

  /** The scope of a node, made once. */
  scopeOf(
    node: Node,
    parent: Scope | undefined,
    owner: FunctionNode | Deno.lint.Program,
    fill: (scope: Scope) => void,
  ): Scope {
    const known = this.#scopes.get(node);
    if (known !== undefined) return known;
    const scope = new Scope(parent, owner);
    this.#scopes.set(node, scope);
    fill(scope);
    return scope;
  }

  /** The lease that begins at a place, made once. */
  leaseAt(site: Node, make: () => LeaseFacts): Lease {
    let lease = this.#leases.get(site);
    if (lease === undefined) {
      lease = {
        site,
        frame: undefined,
        name: "",
        isUsing: false,
        isVague: false,
        isCaught: false,
        escapes: false,
        ...make(),
      };
      this.#leases.set(site, lease);
    }
    return lease;
  }

  /** The lease of an earlier round at the same place. */
  twinOf(lease: Lease): Lease {
    let twin = this.#twins.get(lease);
    if (twin === undefined) {
      twin = { ...lease };
      this.#twins.set(lease, twin);
    }
    return twin;
  }

  /** An element of an array of blocks: the same for the same key. */
  elementOf(array: Lease, key: string): Lease {
    const place = `${this.idOf(array)} ${key}`;
    let element = this.#elements.get(place);
    if (element === undefined) {
      const { site, origin, owner, many: _, ...rest } = array;
      element = { ...rest, site, origin, owner, many: false, array };
      this.#elements.set(place, element);
    }
    element.name ||= key.startsWith("[")
      ? `${array.name || "blocks"}${key}`
      : key;
    return element;
  }

  /** The operation that a call starts on a lease, made once. */
  operationAt(
    site: Node,
    lease: Lease,
    fate: Operation["fate"],
    make: () => Pick<Operation, "rule" | "api" | "receiver">,
  ): Operation {
    let all = this.#operations.get(site);
    if (all === undefined) this.#operations.set(site, all = []);
    let found = all.find((each) => each.lease === lease && each.fate === fate);
    if (found === undefined) {
      found = {
        site,
        lease,
        fate,
        raced: undefined,
        isAwaited: false,
        ...make(),
      };
      all.push(found);
    }
    return found;
  }

  /** The pool of this key, made once. */
  originOf(
    key: string,
    make: () => Pick<Origin, "name" | "sure" | "sized">,
  ): Origin {
    let origin = this.#origins.get(key);
    if (origin === undefined) {
      origin = {
        key,
        isBlock: false,
        isHandle: false,
        isImported: false,
        isOther: false,
        ...make(),
      };
      this.#origins.set(key, origin);
    }
    return origin;
  }

  /** A number for a binding or a node: two of the same name stay two. */
  idOf(it: object): number {
    let id = this.#ids.get(it);
    if (id === undefined) this.#ids.set(it, id = this.#ids.size);
    return id;
  }

  /** Whether a function is not queued yet. */
  isNew(node: FunctionNode): boolean {
    return !this.#queued.has(node);
  }

  /** Lets a function be walked on its own, once, when the functions around it have been. */
  enqueue(task: Task): void {
    const { node } = task;
    if (this.#queued.has(node)) return;
    this.#queued.add(node);
    this.tasks.push(task);
    if (node.generator && node.type !== "ArrowFunctionExpression" && node.id) {
      this.generators.push(node.id.name);
    }
  }

  /** Whether a function inside of the one that declares a variable assigns to it. */
  isSetElsewhere({ name, scope: { owner } }: Binding): boolean {
    const sets = new RegExp(
      `${name.replaceAll("$", "\\$")}\\s*([-+*/|&?]{0,2}=(?!=)|\\+\\+|--)`,
    );
    return this.tasks.some(({ node }) =>
      node !== owner && node.range[0] >= owner.range[0] &&
      node.range[1] <= owner.range[1] && sets.test(this.textOf(node))
    );
  }

  /** Begins a walk with a budget of its own. */
  refill(): void {
    this.#steps = 0;
    this.#nested = 0;
  }

  /**
   * Counts a step into a node. `false` when the budget is spent or the node lies too deep: then it
   * is not looked at, and `leave` must not be called.
   */
  enter(): boolean {
    if (++this.#steps > MOST_STEPS) return false;
    if (this.#nested >= MOST_NESTED) {
      this.#steps = MOST_STEPS;
      return false;
    }
    this.#nested++;
    return true;
  }

  /** Counts the step back. */
  leave(): void {
    this.#nested--;
  }

  /** Whether the walk has come to its end within its budget. */
  get isWithinBudget(): boolean {
    return this.#steps <= MOST_STEPS;
  }
}
