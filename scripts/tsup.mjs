// How every package is built: the same JavaScript once as ES modules and once as CommonJS. Splitting is on in both, so that
// two entries of a package share one copy of each class. Declarations come from `tsc -b`; finish-dist.mjs puts them beside.

/**
 * @param {Record<string, string>} entry
 * @param {{ imports?: Record<string, string>, conditional?: Record<string, string>, bundled?: RegExp[] }} [more] `imports`: what the package's own `#` names mean
 * to whoever calls `require`, which is always Node.js or like it; ES modules leave them to the conditions of the loader.
 * `conditional`: the entries that those conditions choose from.
 * `bundled`: development dependencies that become part of the files that use them
 * @returns {import('tsup').Options[]}
 */
export function packageBuild(entry, { imports = {}, conditional = {}, bundled = [] } = {}) {
  return /** @type {const} */ (['esm', 'cjs']).map((format) => ({
    entry: format === 'esm' ? { ...entry, ...conditional } : entry,
    format,
    outDir: `dist/${format}`,
    outExtension: () => ({ js: '.js' }),
    target: 'node20',
    platform: 'neutral',
    splitting: true,
    treeshake: false,
    sourcemap: false,
    dts: false,
    clean: true,
    silent: true,
    external: [/^node:/, ...(format === 'esm' ? Object.keys(imports) : [])],
    noExternal: bundled,
    esbuildOptions: (options) => {
      if (format === 'cjs') options.alias = imports
    },
  }))
}
