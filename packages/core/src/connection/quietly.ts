/** Runs code of the application whose failure must not be ours. */

/** Calls `failed` with what `run` throws, or with what the promise that it returns rejects with. */
export function quietly(run: () => unknown, failed: (error: unknown) => void): void {
  try {
    const result = run()
    if (typeof result === 'object' && result !== null && 'then' in result) Promise.resolve(result).catch(failed)
  } catch (error) {
    failed(error)
  }
}
