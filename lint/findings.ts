/**
 * What was found in one file, each mistake once, and which of it may be shown.
 *
 * Decides the one thing that only the whole file can tell: whether a pool that is known by its name
 * alone is one of Smriti's. Words come from `messages.ts`.
 */
import type { Origin, RuleName } from "./values.ts";

/** What a report says. */
export interface Words {
  readonly message: string;
  readonly hint: string;
}

/** One mistake. */
export interface Finding extends Words {
  readonly rule: RuleName;
  readonly range: Deno.lint.Range;
  /** The pools that it is about. */
  readonly origins: readonly Origin[];
  readonly fix?: (() => Deno.lint.Fix[]) | undefined;
}

/** The mistakes of one file. */
export class Findings {
  readonly #byPlace = new Map<string, Finding>();
  readonly #importsSmriti: boolean;
  readonly #importsOthers: boolean;

  constructor(importsSmriti: boolean, importsOthers: boolean) {
    this.#importsSmriti = importsSmriti;
    this.#importsOthers = importsOthers;
  }

  /** Adds a mistake, unless the same rule has reported the same place. */
  add(finding: Finding): void {
    const place = `${finding.rule} ${finding.range[0]}`;
    if (!this.#byPlace.has(place)) this.#byPlace.set(place, finding);
  }

  /** What is there now, to come back to by `restore`. */
  save(): number {
    return this.#byPlace.size;
  }

  /** Forgets what was added since. */
  restore(count: number): void {
    [...this.#byPlace.keys()].slice(count).forEach((place) =>
      this.#byPlace.delete(place)
    );
  }

  /** What may be shown of one rule, in the order of the text. */
  of(rule: RuleName): Finding[] {
    return [...this.#byPlace.values()]
      .filter((each) => each.rule === rule && this.#isShown(each))
      .sort((a, b) => a.range[0] - b.range[0]);
  }

  /**
   * A name alone is not enough: the file imports Smriti, or something is done that only a block
   * allows; and nothing is done that a block has not.
   */
  #isShown({ rule, origins }: Finding): boolean {
    return origins.every((origin) => {
      if (origin.sure) return true;
      if (origin.isOther) return false;
      if (origin.isBlock || this.#importsSmriti) return true;
      if (this.#importsOthers) return false;
      // Arrays that other pools give have indices, and need no await.
      switch (rule) {
        case "await-acquire":
          return false;
        case "no-block-as-bytes":
          return origin.isHandle;
      }
      return origin.isHandle || origin.isImported;
    });
  }
}
