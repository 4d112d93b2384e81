/**
 * What each rule says: what happens, and what to write instead.
 *
 * Text alone. Each message uses the names and line numbers of the code that it is about.
 */
import type { Words } from "./findings.ts";
import type { End } from "./state.ts";
import type { Operation } from "./values.ts";

/** How a lease ended, in words. */
function ended({ how }: End, line: number): string {
  switch (how) {
    case "release":
      return `it was released on line ${line}`;
    case "detach":
      return `it was detached on line ${line}`;
    case "abandon":
      return `it was abandoned on line ${line}`;
    case "using":
      return `the block of its \`using\` (line ${line}) is over`;
    case "use":
      return `the function given to \`use\` (line ${line}) is over`;
    case "step":
      return `the step of the loop on line ${line} is over`;
  }
}

/** `lend-io` and the pending half of `no-queue`. */
export function unfinished(
  { api, fate, rule }: Operation,
  name: string,
  call: string,
): Words {
  if (rule === "no-queue") {
    return {
      message:
        `\`${api}\` keeps the bytes of \`${name}\` until it is written, and the lease can end before`,
      hint: "Await it before the lease ends, or write a copy: `bytes.slice()`",
    };
  }
  if (fate === "deferred" || fate === "event") {
    return {
      message:
        `This runs later, when the lease of \`${name}\` has ended and its bytes are gone`,
      hint:
        "Copy what is needed before (`bytes.slice()`), or release the block in here",
    };
  }
  if (fate === "callback") {
    return {
      message:
        `\`${api}\` goes on using the bytes of \`${name}\` after it has returned, and the lease ends before it is done: it reads or writes the next lease's bytes`,
      hint:
        `Lend them: \`await ${name}.lend((bytes) => new Promise(…))\`, release in its callback, or pass a copy: \`bytes.slice()\``,
    };
  }
  return {
    message:
      `\`${api}\` goes on using the bytes of \`${name}\` until its promise settles, and the lease can end before: it reads or writes the next lease's bytes`,
    hint:
      `Lend them: \`await ${name}.lend((bytes) => ${call})\`, or await it before the lease ends`,
  };
}

/** `lend-return`. */
export function notReturned(api: string, within: string): Words {
  return {
    message:
      `\`${api}\` is started in a function given to \`${within}\` that neither returns nor awaits it: the lease ends while it runs`,
    hint: `Return its promise, or await it in an async function`,
  };
}

/** `race`. */
export function raced(api: string, name: string): Words {
  return {
    message:
      `Losing this race does not end \`${api}\`: it goes on using the bytes of \`${name}\`, and the lease can end meanwhile`,
    hint:
      `Race over the lend, which keeps the block until the operation is done: \`Promise.race([${name}.lend((bytes) => …), …])\``,
  };
}

/** `no-queue`. */
export function queued(api: string, what: string): Words {
  return {
    message:
      `\`${api}\` keeps ${what} by reference and reads it later, without a sign of when it is done: by then it can be the next lease's`,
    hint:
      "Queue a copy: `bytes.slice(0, n)`, or answer with `new Response(bytes.subarray(0, n))`, which copies",
  };
}

/** `no-queue` of a transfer. */
export function taken(api: string, name: string): Words {
  return {
    message:
      `\`${api}\` takes the buffer of \`${name}\` along: at its release the block leaves the pool for good`,
    hint:
      "Leave out the transfer list: then the bytes are copied. To send the block itself, use a `SharedBlockPool` and `block.detach()`",
  };
}

/** `no-queue` of an array, a Map or a field. */
export function kept(what: string, end: End, line: number): Words {
  return {
    message: `This keeps ${what} for longer than its lease lasts: ${
      ended(end, line)
    }`,
    hint:
      "Keep a copy: `bytes.slice(0, n)`, or keep the block and release it later",
  };
}

/** `release`. */
export function leaked(name: string, way: string): Words {
  return {
    message: `\`${name}\` is acquired here and not released ${way}`,
    hint:
      `Bind it with \`using\`, or release it in a \`finally\`: \`using ${name} = …\``,
  };
}

/** `release` of a block that no name holds. */
export function dropped(): Words {
  return {
    message:
      "This block is acquired and bound to no name: nothing can release it",
    hint: "Bind it: `using block = await pool.acquire()`",
  };
}

/** `no-use-after-release`. */
export function usedAfter(what: string, end: End, line: number): Words {
  return {
    message: `${what} is used after its lease: ${ended(end, line)}`,
    hint: end.how === "using"
      ? "Use it inside, copy what is needed (`bytes.slice()`), or bind the block without `using` and hand it on"
      : "Use it before, or copy what is needed: `bytes.slice()`",
  };
}

/** `no-use-after-release`, when it leaves the function that ends the lease. */
export function outlived(what: string, end: End, line: number): Words {
  return {
    message: `${what} leaves this function, at whose end its lease ends: ${
      ended(end, line)
    }`,
    hint:
      "Give out a copy (`bytes.slice()`), or bind the block without `using` and let the caller release it",
  };
}

/** `no-use-after-release`: a second release on some path. */
export function maybeUsedAfter(what: string, line: number): Words {
  return {
    message:
      `${what} is used after its lease on one path that leads here: line ${line} ends it`,
    hint: "End it on one path only, or return after it",
  };
}

/** `await-acquire`. */
export function notAwaited(method: string): Words {
  return {
    message: `\`${method}\` gives a promise, which is used as a block here`,
    hint: `Await it: \`await ${method}\``,
  };
}

/** `acquire-many`. */
export function holdsOne(name: string, line: number, isSized: boolean): Words {
  return {
    message:
      `This waits for a block while \`${name}\` (line ${line}) of the same pool is held: two tasks that do so wait for each other forever`,
    hint: isSized
      ? "Release the first before, or take the second with `tryAcquire`"
      : "Acquire them together: `using blocks = await pool.acquireMany(2)`",
  };
}

/** `acquire-many` of one place that acquires again and again. */
export function holdsMore(): Words {
  return {
    message:
      "This waits for further blocks while it holds those acquired before: two tasks that do so wait for each other forever",
    hint:
      "Acquire them together, all or none: `using blocks = await pool.acquireMany(count)`",
  };
}

/** `no-block-as-bytes`. */
export function notBytes(name: string, where: string): Words {
  return {
    message: `\`${name}\` is a block, and ${where} takes its bytes`,
    hint: `Write \`${name}.bytes\``,
  };
}

/** `no-block-as-bytes` of messages to other threads. */
export function notCloned(name: string): Words {
  return {
    message: `\`${name}\` is a block, which cannot be sent or cloned`,
    hint:
      `Send a ticket of a SharedBlockPool (\`${name}.detach()\`), or the bytes: \`${name}.bytes\``,
  };
}
