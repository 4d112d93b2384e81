// Imported first by a Worker that explores: the code reads once, as it is loaded, for which processor it
// runs. The name of the Worker says which; one that keeps plain loads in order, or one that does not.

const build = {
  ...Deno.build,
  arch: globalThis.name as typeof Deno.build.arch,
};
Object.defineProperty(Deno, "build", { value: build });

export {};
