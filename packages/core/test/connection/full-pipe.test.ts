import { expect, test } from 'vitest'
import { World } from './world.js'

test('while the pipe is full no timer rings in vain for an acknowledgement that cannot go out', async () => {
  const world = new World()
  const [a, b] = await world.pair({ onQuery: (query) => query, queryTimeoutMs: Infinity })
  const [, far] = world.pipe
  far.stalled = true
  // The dialer's bytes do not leave, and it goes on reading: its next acknowledgement waits behind a full pipe.
  const calls = [b.query(new Uint8Array(300_000))]
  await world.clock.settle()
  calls.push(a.query('hello'))
  await world.clock.settle()
  const { after } = world.clock
  let armed = 0
  world.clock.after = (...given) => {
    if (++armed > 1000) throw new Error('a timer rings over and over')
    return after.apply(world.clock, given)
  }
  await world.clock.advance(1000)
  expect(armed).toBeLessThan(50)
  far.release()
  await world.finish(Promise.all(calls))
  await world.end()
})

test('limits at their least still carry everything, and nobody acknowledges nothing over and over', async () => {
  const world = new World()
  const limits = {
    fragmentBytes: 4096,
    sendBytesMax: 1,
    replayBytesMax: 1,
    inboxBytesMax: 1,
    handlersMax: 1,
    strangersMax: 1,
  }
  const heard: unknown[] = []
  const [a, b] = await world.pair({
    limits,
    queryTimeoutMs: Infinity,
    onQuery: (query) => query,
    onNotify: (message) => void heard.push(message),
  })
  const bytes = new Uint8Array(50_000).fill(7)
  const work = Promise.all([
    ...Array.from({ length: 12 }, (_, at) => a.query(at)),
    ...Array.from({ length: 12 }, (_, at) => b.query(at)),
    a.query(bytes).then((answer) => (answer as Uint8Array).length),
    ...Array.from({ length: 3 }, (_, at) => a.notify(at)),
  ])
  const results = await world.finish(work)
  expect(results.slice(0, 25)).toEqual([...Array(12).keys(), ...Array(12).keys(), 50_000])
  await world.clock.advance(1000)
  expect(heard).toEqual([...Array(3).keys()])
  await world.end()
})
