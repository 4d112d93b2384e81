// Runs an operation where the call stack ends: once in each of the last frames, with frames of several
// sizes, so that the end comes at every call of the operation.

/** Frames of other sizes: what differs is how many values each keeps. */
const SIZES = 8;

/** A function that calls `act` in each frame deeper than `from`, until the stack ends. */
function diver(size: number): (from: number, act: () => void) => number {
  const kept = Array.from({ length: size }, (_, at) => `k${at}`);
  const code = `
    let depth = 0, from = 0, act, last;
    function dive(${kept}) {
      depth = depth + 1;
      if (depth > from) { try { act(); } catch (error) { last = error; } }
      dive(${kept.map((name) => `${name} + depth`)});
      return [${kept}];
    }
    return (at, what) => {
      depth = 0; from = at; act = what;
      try { dive(${kept.map((_, at) => at)}); } catch { /* The end. */ }
      return depth;
    };`;
  return new Function(code)();
}

const DIVERS = Array.from({ length: SIZES }, (_, size) => diver(size));

/**
 * Calls `act` in each of the last `frames` frames; round after round with frames of other sizes. What
 * `act` itself consists of should have run before: V8 compiles nothing down there.
 */
export function inLastFrames(
  round: number,
  frames: number,
  act: () => void,
): void {
  const dive = DIVERS[round % SIZES];
  const deepest = dive(Infinity, act);
  dive(deepest - frames, act);
}
