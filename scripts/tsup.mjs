// How every package is built: the same JavaScript once as ES modules and once as CommonJS. Splitting is on in both, so that
// two entries of a package share one copy of each class. Declarations come from `tsc -b`; finish-dist.mjs puts them beside.

/**
 * @param {Record<string, string>} entry
 * @param {Partial<import('tsup').Options>} [more]
 * @returns {import('tsup').Options[]}
 */
export function packageBuild(entry, more = {}) {
  return /** @type {const} */ (['esm', 'cjs']).map((format) => ({
    entry,
    format,
    outDir: `dist/${format}`,
    outExtension: () => ({ js: '.js' }),
    target: 'node20',
    platform: 'neutral',
    splitting: true,
    treeshake: false,
    sourcemap: false,
    dts: false,
    silent: true,
    external: [/^node:/, ...(more.external ?? [])],
    ...(more.noExternal === undefined ? {} : { noExternal: more.noExternal }),
  }))
}
