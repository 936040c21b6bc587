/** The browser's side with a WebSocket that is made by hand, so that what it buffers, and when, is known. */
import { isPairlinkError, type Transport } from '@pairlink/core'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { never, pipeOf, Recorder } from './place.js'

class FakeSocket {
  static last: FakeSocket
  binaryType = 'blob'
  bufferedAmount = 0
  readyState = 1
  readonly sent: Uint8Array[] = []
  closedWith: unknown[] | undefined
  onopen: (() => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  onerror: (() => void) | null = null
  onclose: ((event: { code: number; wasClean: boolean }) => void) | null = null

  readonly url: string
  readonly protocol: string

  constructor(url: string, protocol: string) {
    this.url = url
    this.protocol = protocol
    FakeSocket.last = this
  }
  send(message: Uint8Array): void {
    this.sent.push(message.slice())
    this.bufferedAmount += message.length
  }
  close(...given: unknown[]): void {
    this.closedWith = given
  }
  says(...bytes: number[]): void {
    this.onmessage?.({ data: Uint8Array.from(bytes).buffer })
  }
}

let make: (url: string) => Transport

beforeEach(async () => {
  vi.useFakeTimers()
  vi.stubGlobal('WebSocket', FakeSocket)
  vi.stubGlobal('location', { origin: 'https://page.example' })
  // It takes the timers when it is loaded.
  vi.resetModules()
  make = (await import('../src/browser.js')).webSocket
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

async function opened(): Promise<{ pipe: ReturnType<typeof pipeOf>; recorder: Recorder; socket: FakeSocket }> {
  const dialled = make('ws://localhost:5/pairlink').dial(never)
  FakeSocket.last.onopen?.()
  const pipe = pipeOf(await dialled)
  const recorder = new Recorder()
  pipe.start(recorder)
  return { pipe, recorder, socket: FakeSocket.last }
}

describe('a dial', () => {
  test('names the subprotocol, and asks for bytes', async () => {
    const { socket } = await opened()
    expect([socket.url, socket.protocol, socket.binaryType]).toEqual([
      'ws://localhost:5/pairlink',
      'pairlink.1',
      'arraybuffer',
    ])
  })

  test('whose WebSocket is closed before the pipe is started is a pipe that is closed', async () => {
    const dialled = make('ws://localhost:5/pairlink').dial(never)
    FakeSocket.last.onopen?.()
    FakeSocket.last.readyState = 3
    const pipe = pipeOf(await dialled)
    const recorder = new Recorder()
    pipe.start(recorder)
    expect(recorder.calls).toEqual([])
    expect(pipe.write([Uint8Array.of(1)])).toBe(true)
    await vi.runAllTimersAsync()
    expect(recorder.calls).toEqual(['closed'])
    expect(recorder.error?.message).toContain('cut off')
    expect(FakeSocket.last.sent).toEqual([])
  })

  test('that fails is absent, and says what may be wrong and which Origin to list', async () => {
    const transport = make('ws://localhost:5/pairlink')
    expect(transport.obstacle?.()).toBeUndefined()
    const dialled = transport.dial(never)
    FakeSocket.last.onerror?.()
    expect(await dialled).toBe('absent')
    const obstacle = transport.obstacle?.()
    if (!isPairlinkError(obstacle)) throw new Error('expected an error')
    expect(obstacle.code).toBe('PEER_LOST')
    expect(obstacle.message).toContain('nobody listens there, or the listener refuses this page')
    expect(obstacle.message).toContain("'https://page.example' among its origins")
    const again = transport.dial(never)
    FakeSocket.last.onopen?.()
    pipeOf(await again)
    expect(transport.obstacle?.()).toBeUndefined()
  })

  test('that nobody answers for 5 seconds is given up, as silent', async () => {
    const transport = make('ws://localhost:5/pairlink')
    const dialled = transport.dial(never)
    await vi.advanceTimersByTimeAsync(4999)
    expect(FakeSocket.last.closedWith).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1)
    expect(await dialled).toBe('full')
    expect(FakeSocket.last.closedWith).toEqual([])
    expect(transport.obstacle?.()).toMatchObject({ code: 'PEER_SILENT' })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('that is aborted closes the socket, rejects with the reason, and leaves no timer', async () => {
    const abort = new AbortController()
    const dialled = make('ws://localhost:5/pairlink').dial(abort.signal)
    abort.abort(new Error('enough'))
    await expect(dialled).rejects.toThrow('enough')
    expect(FakeSocket.last.closedWith).toEqual([])
    expect(vi.getTimerCount()).toBe(0)
    const socket = FakeSocket.last
    await expect(make('ws://localhost:5/pairlink').dial(abort.signal)).rejects.toThrow('enough')
    expect(FakeSocket.last).toBe(socket)
  })

  test('that the platform forbids is ADDRESS_INVALID', async () => {
    vi.stubGlobal('WebSocket', function () {
      throw new DOMException('insecure', 'SecurityError')
    })
    await expect(make('ws://localhost:5/pairlink').dial(never)).rejects.toMatchObject({ code: 'ADDRESS_INVALID' })
  })

  test('cannot be made where there is no WebSocket', () => {
    vi.stubGlobal('WebSocket', undefined)
    expect(() => make('ws://localhost:5/pairlink')).toThrow(TypeError)
  })

  test('never listens', async () => {
    expect(await make('ws://localhost:5/pairlink').listen(() => undefined, never)).toBe('cannot')
  })
})

describe('writing', () => {
  test('goes on while less than 256 KiB wait, and no timer runs', async () => {
    const { pipe } = await opened()
    expect(pipe.write([new Uint8Array(262_143)])).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('is enough at 256 KiB, and drained once nothing waits any more', async () => {
    const { pipe, recorder, socket } = await opened()
    expect(pipe.write([new Uint8Array(262_144)])).toBe(false)
    await vi.advanceTimersByTimeAsync(100)
    expect(recorder.calls).toEqual([])
    socket.bufferedAmount = 1
    await vi.advanceTimersByTimeAsync(100)
    expect(recorder.calls).toEqual([])
    socket.bufferedAmount = 0
    expect(recorder.calls).toEqual([])
    await vi.advanceTimersByTimeAsync(4)
    expect(recorder.calls).toEqual(['drained'])
    expect(vi.getTimerCount()).toBe(0)
    await vi.advanceTimersByTimeAsync(100)
    expect(recorder.calls).toEqual(['drained'])
  })

  test('is drained by what comes in as well, where timers are slowed down', async () => {
    const { pipe, recorder, socket } = await opened()
    pipe.write([new Uint8Array(300_000)])
    socket.bufferedAmount = 0
    socket.says(1)
    expect(recorder.calls).toEqual(['bytes', 'drained'])
  })

  test('cuts what is longer than 64 KiB, joins what is short, and sends nothing empty', async () => {
    const { pipe, socket } = await opened()
    pipe.write([new Uint8Array(0), new Uint8Array(10), new Uint8Array(20), new Uint8Array(150_000), new Uint8Array(5)])
    pipe.write([new Uint8Array(0)])
    expect(socket.sent.map(({ length }) => length)).toEqual([30, 65_536, 65_536, 18_928, 5])
  })

  test('many short ones fill one message to 64 KiB at most', async () => {
    const { pipe, socket } = await opened()
    pipe.write(Array.from({ length: 100 }, () => new Uint8Array(1000)))
    expect(socket.sent.map(({ length }) => length)).toEqual([65_000, 35_000])
  })

  test('leaves no timer behind when the socket goes while it waits', async () => {
    const { pipe, recorder, socket } = await opened()
    pipe.write([new Uint8Array(300_000)])
    socket.onclose?.({ code: 1006, wasClean: false })
    expect(vi.getTimerCount()).toBe(0)
    expect(recorder.calls).toEqual(['closed'])
    expect(recorder.error?.message).toContain('1006')
  })
})

describe('ending', () => {
  test('is an empty message, and the socket is closed once both have ended', async () => {
    const { pipe, recorder, socket } = await opened()
    pipe.end()
    pipe.end()
    expect(socket.sent.map(({ length }) => length)).toEqual([0])
    expect(socket.closedWith).toBeUndefined()
    socket.says(1, 2)
    socket.says()
    expect(socket.closedWith).toEqual([1000])
    expect(recorder.calls).toEqual(['bytes', 'ended'])
    socket.onclose?.({ code: 1000, wasClean: true })
    expect(recorder.calls).toEqual(['bytes', 'ended', 'closed'])
    expect(recorder.error).toBeUndefined()
  })

  test('by a close of the other side is an end, too', async () => {
    const { recorder, socket } = await opened()
    socket.onclose?.({ code: 1001, wasClean: true })
    expect(recorder.calls).toEqual(['ended', 'closed'])
    expect(recorder.error).toBeUndefined()
  })

  test('destroy is told once, from an event of its own, however long the platform takes', async () => {
    const { pipe, recorder, socket } = await opened()
    pipe.destroy()
    pipe.destroy()
    expect([recorder.calls, socket.closedWith]).toEqual([[], []])
    expect(pipe.write([new Uint8Array(1)])).toBe(true)
    pipe.end()
    socket.says(1)
    expect(socket.sent).toEqual([])
    await vi.advanceTimersByTimeAsync(0)
    expect(recorder.calls).toEqual(['closed'])
    expect(recorder.error).toBeUndefined()
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each<[string, unknown[]]>([
    ['text', ['hello']],
    ['a message of more than 64 KiB', [new ArrayBuffer(65_537)]],
    ['a message behind its last one', [new ArrayBuffer(0), new ArrayBuffer(1)]],
  ])('%s closes it with PROTOCOL, and is not delivered', async (_name, messages) => {
    const { recorder, socket } = await opened()
    for (const data of messages) socket.onmessage?.({ data })
    socket.says(1)
    await vi.advanceTimersByTimeAsync(0)
    expect(recorder.calls.filter((call) => call !== 'ended')).toEqual(['closed'])
    expect(isPairlinkError(recorder.error, 'PROTOCOL')).toBe(true)
    expect(socket.closedWith).toEqual([])
  })

  test('a message of 64 KiB is delivered, as the receiver’s own', async () => {
    const { recorder, socket } = await opened()
    socket.onmessage?.({ data: new ArrayBuffer(65_536) })
    expect(recorder.bytesRead).toBe(65_536)
  })
})
