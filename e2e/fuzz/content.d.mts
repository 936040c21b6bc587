/** For the tests of the packages, which are checked by TypeScript. */
export function expectedOf(
  content: number,
  bytes: Uint8Array,
): { readonly isReadable: true; readonly value: unknown } | { readonly isReadable: false }
