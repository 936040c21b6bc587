// port-transport.mjs: the cases of the contract for a transport of which one side only listens and the other one only dials:
// node --test port-transport.mjs
import { test } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { listSkipped, transportCases } from '@pairlink/testkit'
import { dialsOver, listensOver } from '../port-transport.mjs'

// #region place
/** A channel in place of the worker. The side that listens is one object: it alone hears the port. */
function place() {
  const { port1, port2 } = new MessageChannel()
  const listener = listensOver(port1)
  return {
    listener: () => listener,
    dialer: () => dialsOver(port2),
    dispose: () => port1.close(),
  }
}
// #endregion place

// #region manifest
const manifest = {
  reach: 'user',
  encrypted: false,
  listens: 'listener',
  dials: 'dialer',
  tellsTaken: true,
  manyPipes: true,
  halfClose: true,
  enoughBytes: false, // it cannot tell what has left
  holder: false,
  canBeLost: false,
  goesStale: false,
  keepsAlive: true,
  processes: false,
}
// #endregion manifest

const cases = transportCases(place, manifest)
console.log(listSkipped(cases))
for (const { id, title, skip, run } of cases) test(`${id}: ${title}`, { skip }, run)
