/**
 * A real page in a real browser, and a process: the example that users open, and a page of this test's own whose program is
 * bundled as an application's is. Where there is no browser the cases say so and do not run.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import type { Connection } from '@pairlink/core'
import { aes256gcm, generateKey } from '@pairlink/crypto'
import { attachWs } from '@pairlink/transport-ws'
import type { Browser, Page } from 'playwright-core'
import { build, type Rollup } from 'vite'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { launch, whyNone } from './chromium.js'
import { afterwards, connection, SECRET, type Options } from './endpoints.js'
import { Peer, repository, until } from './processes.js'

/** What the page's program gives to the cases. It is bundled, and sees nothing of this file. */
const PROGRAM = `
  import { Connection } from '@pairlink/core'
  import { aes256gcm } from '@pairlink/crypto'
  import { webSocket } from '@pairlink/transport-ws'

  const handled = []
  const waitings = []
  let connection

  async function checksum(bytes) {
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
    return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')
  }
  function answer(query) {
    if (query instanceof Uint8Array) return checksum(query)
    if (query === 'never') return new Promise(() => {})
    if (typeof query === 'number') handled.push(query)
    return 'the page heard ' + query
  }
  globalThis.peer = {
    handled,
    /** Resolves once they are paired, or to the code of the error. */
    async connect(url, { key, onQuery = answer, ...options }) {
      const encryption = key && aes256gcm(Uint8Array.from(key))
      connection = new Connection({ transport: webSocket(url), encryption, onQuery, ...options })
      connection.on('waiting', ({ error }) => waitings.push(error?.message))
      return connection.connect({ timeoutMs: 10_000 }).then(() => 'paired', (error) => error.code)
    },
    query: (payload) => connection.query(payload),
    waitings,
    /** Asks numbers, so many at a time, and resolves to the answers. */
    async ask(count, lanes) {
      const answers = []
      let next = 0
      const lane = async () => {
        while (next < count) {
          const number = next++
          answers[number] = await connection.query(number)
        }
      }
      await Promise.all(Array.from({ length: lanes }, lane))
      return answers
    },
    async sendBytes(count) {
      const bytes = new Uint8Array(count)
      for (let at = 0; at < count; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536))
      return { sent: await checksum(bytes), heard: await connection.query(bytes) }
    },
  }
`
const BYTES = 16 * 1024 * 1024

interface PageProgram {
  readonly handled: number[]
  readonly waitings: (string | undefined)[]
  connect(url: string, options: { secret: string; key?: number[]; [option: string]: unknown }): Promise<string>
  query(payload: unknown): Promise<unknown>
  ask(count: number, lanes: number): Promise<unknown[]>
  sendBytes(count: number): Promise<{ sent: string; heard: string }>
}
/** In functions that run in the page. */
declare const peer: PageProgram

let browser: Browser
let program: string
const pages = new Set<Page>()
const errors: Error[] = []

beforeAll(async () => {
  if (whyNone !== undefined) return
  ;[browser, program] = await Promise.all([launch(), bundle()])
})
afterAll(() => browser?.close())
afterEach(async () => {
  await Promise.all([...pages].map((page) => page.context().close()))
  pages.clear()
  expect(errors.splice(0)).toEqual([])
})

function inBrowser(name: string, run: () => Promise<void>): void {
  it(name, async (context) => {
    if (whyNone !== undefined) {
      console.log(`SKIPPED in a browser, ${name}: ${whyNone}`)
      return context.skip(whyNone)
    }
    await run()
  })
}

describe('the example', () => {
  inBrowser('pairs, and either side asks the other', async () => {
    const { page } = await example()
    await page.click('#ask button')
    await page.waitForSelector('#ask-output.answered')
    expect(await page.textContent('#ask-output')).toMatch(/^Node\.js v\d+.*heard “hello”$/)
    await page.fill('#answer', 'what the page answers')
    await page.click('#ask-me button')
    await page.waitForSelector('#ask-me-output.answered')
    expect(await page.textContent('#ask-me-output')).toBe('what the page answers')
    expect(await page.textContent('#log')).toContain('The Node process asks: “How are you?”')
    await figure(page, 'arrived', (count) => count >= 3)
  })

  inBrowser('goes on where it was when its link was cut, and nothing is missing or comes twice', async () => {
    const { page, node } = await example()
    await figure(page, 'answered', (count) => count >= 2)
    await page.click('#cut')
    await page.waitForSelector('body[data-state=apart]')
    await figure(page, 'open', (count) => count >= 3)
    await page.click('#cut')
    await page.waitForSelector('body[data-state=paired]')
    expect(await page.textContent('#log')).toContain('Paired again: the session goes on')
    const asked = await figure(page, 'asked', (count) => count >= 5)
    await figure(page, 'answered', (count) => count >= asked)
    await figure(page, 'arrived', (count) => count >= asked)
    for (const wrong of ['failed', 'missing', 'twice']) expect(await figure(page, wrong)).toBe(0)
    await said(node, 'The same page is back')
  })

  inBrowser('says goodbye when it is loaded again, and tells a second tab that it must wait', async () => {
    const { page, node } = await example()
    await page.reload()
    await page.waitForSelector('body[data-state=paired]')
    await said(node, 'The page was closed')
    await until(
      () => node.lines.filter((line) => line === 'Paired with a new page.').length === 2,
      'the page is a new one',
      () => node.seen(),
    )
    const second = await open(page.url())
    await second.waitForSelector('#notice:not([hidden])')
    expect(await second.textContent('#notice-text')).toContain('PAIR_BUSY')
    await second.click('#notice-action')
    await second.waitForSelector('body[data-state=standby]')
    await page.close({ runBeforeUnload: false })
    await second.waitForSelector('body[data-state=paired]')
  })
})

describe('a page', () => {
  inBrowser('of which nothing is code of Node.js, pairs and answers', async () => {
    for (const pattern of [/["']node:/, /\brequire\(/, /\bBuffer\b/, /__vite-browser-external/])
      expect(program).not.toMatch(pattern)
    const { page, node } = await pair()
    expect(await page.evaluate(() => peer.query('this'))).toBe('Node heard this')
    expect(await node.query('that')).toBe('the page heard that')
    expect(node.role).toBe('listener')
  })

  inBrowser('sends and receives 16 MB at once, and they are the same bytes', async () => {
    const { page, node } = await pair({ queryTimeoutMs: 20_000 })
    const bytes = randomBytes(BYTES)
    const [fromPage, heardByPage] = await Promise.all([
      page.evaluate((count) => peer.sendBytes(count), BYTES),
      node.query(bytes),
    ])
    expect(heardByPage).toBe(checksum(bytes))
    expect(fromPage.heard).toBe(fromPage.sent)
  })

  inBrowser('whose link is cut again and again has each query handled once, both ways', async () => {
    const handled: number[] = []
    const resumes: boolean[] = []
    const { page, node, cut } = await pair({
      whenApart: 'wait',
      resumeWindowMs: 60_000,
      onQuery: (query) => {
        handled.push(query as number)
        if (handled.length % 100 === 50) cut()
        return `Node heard ${query}`
      },
    })
    node.on('paired', ({ resumed }) => resumes.push(resumed))
    const numbers = Array.from({ length: 400 }, (_, number) => number)
    const [toNode, toPage] = await Promise.all([
      page.evaluate((count) => peer.ask(count, 10), numbers.length),
      Promise.all(numbers.map((number) => node.query(number))),
    ])
    expect(toNode).toEqual(numbers.map((number) => `Node heard ${number}`))
    expect(toPage).toEqual(numbers.map((number) => `the page heard ${number}`))
    const ascending = (a: number, b: number): number => a - b
    expect(handled.sort(ascending)).toEqual(numbers)
    expect((await page.evaluate(() => peer.handled)).sort(ascending)).toEqual(numbers)
    expect(resumes).toEqual([true, true, true, true])
  })

  inBrowser('that is loaded again without a goodbye is a new peer, and what it was asked is lost', async () => {
    const { page, url, node } = await pair({ holdMs: 200 })
    const first = node.peer?.instance
    const before = node.stats().session?.sentFrames ?? 0
    const asked = node.query('never').catch((error: unknown) => error)
    const paired = new Promise((resolve) => {
      node.on('paired', resolve)
    })
    await vi.waitUntil(() => {
      const { sentFrames = 0, unacknowledgedBytes } = node.stats().session ?? {}
      return sentFrames > before && unacknowledgedBytes === 0
    })
    await page.reload()
    expect(await connect(page, url)).toBe('paired')
    expect(await paired).toMatchObject({ peer: 'new', resumed: false })
    expect(node.peer?.instance).not.toBe(first)
    expect(await asked).toMatchObject({ code: 'PEER_LOST', delivery: 'delivered' })
  })

  inBrowser('in a second tab is told PAIR_BUSY, and the first one stays', async () => {
    const { page, url, node } = await pair()
    const second = await open(page.url())
    expect(await connect(second, url)).toBe('PAIR_BUSY')
    expect(await node.query('still there')).toBe('the page heard still there')
  })

  inBrowser('of a foreign Origin is refused: it is told which one to list, and the listener why', async () => {
    const { url, node } = await pair()
    const foreign = await open(origin(await server()))
    const refused = new Promise((resolve) => {
      node.on('refused', resolve)
    })
    void foreign.evaluate(([at, secret]) => peer.connect(at, { secret }), [url, SECRET] as const).catch(() => undefined)
    expect(await refused).toMatchObject({ reason: 'not-pairlink', error: { code: 'NOT_PAIRLINK', reason: 'origin' } })
    await foreign.waitForFunction(() => peer.waitings.length > 0)
    const hint = `The listener must have '${new URL(foreign.url()).origin}' among its origins`
    expect(await foreign.evaluate(() => peer.waitings[0])).toContain(hint)
    expect(await node.query('you')).toBe('the page heard you')
  })

  inBrowser('that encrypts says the same with nothing of it to be read on the way', async () => {
    const words = 'words that can be found again'
    for (const key of [undefined, generateKey()]) {
      const { page, node, frames } = await pair({}, key)
      expect(await page.evaluate((text) => peer.query(text), words)).toBe(`Node heard ${words}`)
      expect(await node.query(words)).toBe(`the page heard ${words}`)
      await node.close()
      const seen = await frames
      expect(seen.length).toBeGreaterThan(4)
      // Query and answer of both directions.
      expect(seen.filter((frame) => frame.includes(words))).toHaveLength(key === undefined ? 4 : 0)
    }
  })
})

interface Pair {
  readonly page: Page
  /** Where the process meets the page. */
  readonly url: string
  readonly node: Connection
  /** Ends the link without a goodbye. */
  readonly cut: () => void
  /** All that went over the first WebSocket of the page, in both directions, once that is closed. */
  readonly frames: Promise<readonly Buffer[]>
}

async function pair(options: Options = {}, key?: Uint8Array): Promise<Pair> {
  const http = await server()
  const sockets = new Set<Socket>()
  http.on('upgrade', (_, socket: Socket) => {
    sockets.add(socket)
  })
  const at = origin(http)
  const url = `${at.replace('http', 'ws')}/pairlink`
  const node = connection(attachWs(http, { origins: [at] }), {
    onQuery: (query) => (query instanceof Uint8Array ? checksum(query) : `Node heard ${String(query)}`),
    ...(key === undefined ? {} : { encryption: aes256gcm(key) }),
    ...options,
  })
  await node.connect({ until: 'started' })
  const page = await open(at)
  const frames = new Promise<readonly Buffer[]>((resolve) => {
    page.once('websocket', (socket) => {
      const seen: Buffer[] = []
      for (const event of ['framesent', 'framereceived'] as const)
        socket.on(event as 'framesent', ({ payload }) => seen.push(Buffer.from(payload)))
      socket.once('close', () => {
        resolve(seen)
      })
    })
  })
  // The page has the same options, but for functions, which stay here.
  const shared = { ...options, onQuery: undefined, ...(key === undefined ? {} : { key: [...key] }) }
  const outcome = await connect(page, url, shared)
  expect(outcome).toBe('paired')
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  return { page, url, node, cut, frames }
}

/** @param options without functions @returns 'paired', or the code of the error */
function connect(page: Page, url: string, options: Record<string, unknown> = {}): Promise<string> {
  return page.evaluate(([at, given]) => peer.connect(at, given), [url, { secret: SECRET, ...options }] as const)
}

/** Serves the page of this test, at a port of its own. */
function server(): Promise<Server> {
  const http = createServer((request, response) => {
    const isProgram = request.url === '/program.js'
    response.setHeader('content-type', isProgram ? 'text/javascript' : 'text/html')
    response.end(
      isProgram
        ? program
        : '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/program.js"></script>',
    )
  })
  afterwards(() => {
    http.close()
    http.closeAllConnections()
  })
  return new Promise((resolve) => {
    http.listen(0, '127.0.0.1', () => {
      resolve(http)
    })
  })
}

function origin(http: Server): string {
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}`
}

/** A tab, as of another user's browser. An error there that nobody catches fails the test. */
async function open(url: string): Promise<Page> {
  const page = await browser.newPage()
  pages.add(page)
  page.on('pageerror', (error) => errors.push(error))
  page.setDefaultTimeout(10_000)
  await page.goto(url)
  return page
}

async function example(): Promise<{ readonly page: Page; readonly node: Peer }> {
  const node = new Peer(join(repository, 'examples/browser/server.mjs'), ['0'], 'the example')
  await said(node, 'Open http')
  const page = await open(node.lines.find((line) => line.startsWith('Open '))?.slice('Open '.length) ?? '')
  await page.waitForSelector('body[data-state=paired]')
  return { page, node }
}

function said(node: Peer, words: string): Promise<void> {
  return until(
    () => node.lines.some((line) => line.includes(words)),
    `it says '${words}'`,
    () => node.seen(),
    20_000,
  )
}

/** A count that the example shows, once it is as wanted; the larger one where there are two. */
async function figure(page: Page, name: string, isIt: (count: number) => boolean = () => true): Promise<number> {
  let count = 0
  const look = async (): Promise<boolean> => {
    const shown = await page.locator(`[data-name=${name}] b`).allTextContents()
    count = Math.max(...shown.map(Number))
    return isIt(count)
  }
  await expect.poll(look, { timeout: 10_000, interval: 50, message: `${name} on the page` }).toBe(true)
  return count
}

function checksum(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The page's program as an application's bundler makes it, in one file. */
async function bundle(): Promise<string> {
  const built = (await build({
    configFile: false,
    root: join(repository, 'e2e'),
    logLevel: 'error',
    build: { write: false, minify: false, rollupOptions: { input: 'program', output: { inlineDynamicImports: true } } },
    plugins: [
      {
        name: 'program',
        resolveId: (id) => (id === 'program' ? '\0program' : undefined),
        load: (id) => (id === '\0program' ? PROGRAM : undefined),
      },
    ],
  })) as Rollup.RollupOutput
  const [chunk, ...others] = built.output
  expect(others).toEqual([])
  return chunk.code
}
