/** What both kinds of listeners are given. It must not use a type of Node.js: programs without those could not be compiled. */

export interface GuestOptions {
  /** `/pairlink` by default; what stands behind a `?` is not looked at. */
  readonly path?: string
  /**
   * The pages that may dial, such as `https://app.example` or `http://localhost:5173`; none by default. Also the pages of
   * the same server must stand here. What is no browser sends no Origin, and is let in.
   */
  readonly origins?: readonly string[]
  /** The names under which pages may dial, without ports: `localhost` and the addresses of loopback by default. */
  readonly hosts?: readonly string[]
}
