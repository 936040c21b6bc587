// usual-recipe.mjs: how two processes usually find out who listens on a unix socket, as it stands in many programs: bind;
// when the address is in use, connect; when that is refused, the file was left by a dead process, so remove it and bind.
// Each step is right by itself. But between the refusal and the removal another process may have done the same and be
// listening already, and then it is that one's socket which is removed: two processes listen, and one of them cannot be found.
import { unlinkSync } from 'node:fs'
import { connect, createServer } from 'node:net'

/** @returns {Promise<{ role: 'listener' | 'client', end: () => void }>} */
export async function usualRecipe(/** @type {string} */ path) {
  for (;;) {
    const server = await bind(path)
    if (typeof server !== 'string') return { role: 'listener', end: () => server.close() }
    const socket = await dial(path)
    if (typeof socket !== 'string') return { role: 'client', end: () => socket.destroy() }
    if (socket === 'ECONNREFUSED') remove(path)
  }
}

/** Binds the addresses, for a process that is killed then: what stays are socket files behind which nobody listens. */
export async function leaveStaleSockets(/** @type {string[]} */ paths) {
  for (const path of paths) await bind(path)
}

/** @returns {Promise<import('node:net').Server | string>} the code of the error, when it failed */
function bind(/** @type {string} */ path) {
  const server = createServer((socket) => socket.on('error', () => {}))
  return new Promise((resolve) => {
    server.once('error', (/** @type {any} */ error) => resolve(error.code))
    server.listen(path, () => resolve(server))
  })
}

/** @returns {Promise<import('node:net').Socket | string>} the code of the error, when it failed */
function dial(/** @type {string} */ path) {
  return new Promise((resolve) => {
    const socket = connect(path, () => resolve(socket))
    socket.on('error', (/** @type {any} */ error) => resolve(error.code))
  })
}

function remove(/** @type {string} */ path) {
  try {
    unlinkSync(path)
  } catch {
    // Another process was faster.
  }
}
