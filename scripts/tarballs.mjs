// Packs every package, installs the tarballs in empty folders outside the workspace, and uses them as people do: TypeScript as
// ES module and CommonJS, plain require, Jest, a Vite build for browsers, the program of the README, the cases of the testkit, and
// two transports: the template, and one over files. No network is used; the tools are run by path from the workspace.
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'
import { publishedPackages } from './packages.mjs'
import { bin, root } from './setup.mjs'

const work = mkdtempSync(join(tmpdir(), 'pairlink-tarballs-'))
const env = { ...process.env, npm_config_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false' }
let count = 0
/** What our packages need to run that is not ours: it is packed from the workspace, since nothing is fetched. */
const foreign = [...new Set(publishedPackages().flatMap(({ manifest }) => Object.keys(manifest.dependencies ?? {})))]
  .filter((name) => !/^(@pairlink\/|pairlink$)/.test(name))
  .sort()

const BROWSER_CORE = "import { Connection } from '@pairlink/core'\nglobalThis.pairlink = Connection\n"
const BROWSER_WS = `
  import { Connection } from '@pairlink/core'
  import * as transport from '@pairlink/transport-ws'
  import { webSocket } from '@pairlink/transport-ws/browser'
  globalThis.pairlink = Connection
  globalThis.told = [Object.keys(transport), transport.webSocket === webSocket, webSocket('wss://app.example/x').encrypted].join()
`
/** A sealed pair within one page, over a MessageChannel. */
const BROWSER_CRYPTO = `
  import { Connection } from '@pairlink/core'
  import { aes256gcm, custom, generateKey, loadKey } from '@pairlink/crypto'
  const pipe = (port) => {
    let sink
    const is = { ended: false, theyEnded: false, closed: false }
    const close = () => {
      if (is.closed) return
      is.closed = true
      port.close()
      setTimeout(() => sink.closed())
    }
    const end = () => {
      if (!is.ended) port.postMessage(null)
      is.ended = true
      if (is.theyEnded) close()
    }
    return {
      start(receiver) {
        sink = receiver
        port.onmessage = ({ data }) => {
          if (data !== null) return sink.bytes(data, false)
          is.theyEnded = true
          sink.ended()
          if (is.ended) close()
        }
      },
      write(chunks) {
        if (!is.ended) for (const chunk of chunks) port.postMessage(chunk.slice())
        return true
      },
      end,
      destroy() {
        end()
        close()
      },
      ref() {},
      unref() {},
    }
  }
  let accept
  const place = { address: 'page', reach: 'user', encrypted: false }
  const listens = {
    ...place,
    dial: async () => 'absent',
    async listen(onPipe) {
      accept = onPipe
      return { close: async () => undefined, ref() {}, unref() {} }
    },
  }
  const dials = {
    ...place,
    async dial() {
      if (accept === undefined) return 'absent'
      const { port1, port2 } = new MessageChannel()
      setTimeout(() => accept(pipe(port2)))
      return pipe(port1)
    },
    listen: async () => 'cannot',
  }
  const encryption = aes256gcm(loadKey(generateKey()))
  const [one, two] = [listens, dials].map(
    (transport) => new Connection({ transport, secret: 'super-secret', encryption, onQuery: (query) => query, logger: { error() {} } }),
  )
  await Promise.all([one.connect(), two.connect()])
  let refused = ''
  try {
    loadKey('./a.key')
  } catch (error) {
    refused = error.name
  }
  globalThis.told = [await two.query('over the wire'), refused, typeof custom].join()
  await Promise.all([one.close(), two.close()])
`

try {
  const tarballs = pack()
  const app = install('app', { type: 'module' }, tarballs)
  cpSync(join(root, 'examples', 'conformance'), join(app, 'conformance'), { recursive: true })
  // These mostly wait, each in processes of its own, and the others need not wait for them.
  const waiting = Promise.all([
    check('the cases of the testkit under node --test', () => nodeTest(app)),
    check('the cases of the testkit under bun test', () => bunTest(app)),
    check('the template of a transport builds, passes the cases, and is a package', () =>
      transport(tarballs, {
        name: 'transport-template',
        needs: ['core', 'testkit'],
        where: String(20_000 + (process.pid % 10_000)),
        modules: ['index'],
      }),
    ),
    check('the transport over files builds, passes the cases, and is a package', () =>
      transport(tarballs, {
        name: 'write-a-transport',
        needs: ['core', 'crypto', 'testkit'],
        where: join(work, 'files'),
        modules: ['folder', 'follow', 'index', 'owner', 'pipe'],
      }),
    ),
  ])
  waiting.catch(() => undefined)
  const readme = readmeProgram()
  await check('the program of the README, as ES module', () => runTwice(app, 'peer.mjs', unique(readme, 'esm')))
  await check('the program of the README, by require', () =>
    runTwice(app, 'peer.cjs', unique(asCommonJs(readme), 'cjs')),
  )
  await check('TypeScript, as ES module', () => typeScript('ts-esm', { type: 'module' }, tarballs))
  await check('TypeScript, as CommonJS', () => typeScript('ts-cjs', { type: 'commonjs' }, tarballs))
  await check('both entries of core share one Link, in both formats', () => sharedClasses(app))
  await check('Jest', () => jest(tarballs))
  await check('a Vite build of core for browsers, without Node.js code', () =>
    vite(app, 'core', BROWSER_CORE, 'undefined'),
  )
  await check('a Vite build of core and crypto for browsers, without Node.js code, which works', () =>
    vite(app, 'crypto', BROWSER_CRYPTO, 'over the wire,TypeError,function'),
  )
  await check('a Vite build of core and transport-ws for browsers, without Node.js code, which works', () =>
    vite(app, 'ws', BROWSER_WS, 'webSocket,true,true'),
  )
  await check('core and transport-net come alone', () => alone(tarballs))
  await check('encryption and TLS, as ES module and by require', () => encrypted(app))
  await check('WebSocket, as ES module and by require', () => webSockets(app))
  await waiting
  console.log(`${count} uses of the packed packages work.`)
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  rmSync(work, { recursive: true, force: true })
}

/**
 * @param {string} title
 * @param {() => void | string | Promise<void | string>} body returns what is worth telling
 */
async function check(title, body) {
  try {
    const told = (await body()) ?? ''
    if (told.startsWith('SKIPPED ')) return console.log(told)
    count++
    console.log(`ok ${title}${told && `: ${told}`}`)
  } catch (error) {
    throw new Error(`failed: ${title}\n${outputOf(error)}`, { cause: error })
  }
}

/** What a program printed before it failed. @param {any} error */
function outputOf(error) {
  return [error?.stdout, error?.stderr].filter(Boolean).map(String).join('\n')
}

function pack() {
  const folder = join(work, 'tarballs')
  mkdirSync(folder)
  const theirs = foreign.map((name) => {
    const from = join(root, 'node_modules', name)
    const { dependencies = {} } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8'))
    assert.deepEqual(dependencies, {}, `${name} needs more, which is not packed here`)
    const args = ['pack', from, '--json', '--ignore-scripts', '--pack-destination', folder]
    const [{ filename }] = JSON.parse(execFileSync('npm', args, { env, encoding: 'utf8' }))
    return join(folder, filename)
  })
  const ours = publishedPackages().map(({ name, folder: packageFolder }) => {
    const printed = execFileSync('npm', ['pack', '--json', '--pack-destination', folder], {
      cwd: packageFolder,
      env,
      encoding: 'utf8',
    })
    const [{ filename, files }] = JSON.parse(printed)
    assert(!files.some((/** @type {{ path: string }} */ file) => file.path.endsWith('.map')), `${name} has source maps`)
    assert(
      files.some((/** @type {{ path: string }} */ file) => file.path === 'LICENSE'),
      `${name} has no licence`,
    )
    return join(folder, filename)
  })
  return [...ours, ...theirs]
}

/** @param {string} name @param {object} manifest @param {string[]} tarballs */
function install(name, manifest, tarballs) {
  const folder = join(work, name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, version: '0.0.0', private: true, ...manifest }))
  execFileSync('npm', ['install', '--offline', '--loglevel=error', ...tarballs], { cwd: folder, env, stdio: 'pipe' })
  const installed = readdirSync(join(folder, 'node_modules')).filter((entry) => !entry.startsWith('.'))
  assert.deepEqual(installed, ['@pairlink', 'pairlink', ...foreign].sort(), 'no package comes along that is not needed')
  return folder
}

function readmeProgram() {
  const [, program] = /```js\n(\/\/ peer\.mjs[^]*?)```/.exec(readFileSync(join(root, 'README.md'), 'utf8')) ?? []
  assert(program, 'the README has a program')
  return program
}

/** Another name than `example`, so that it meets only itself. @param {string} program @param {string} tag */
function unique(program, tag) {
  assert(program.includes("local('example')"))
  return program.replace("local('example')", `local('tarball-${tag}-${process.pid}')`)
}

/** @param {string} program */
function asCommonJs(program) {
  const [head, ...imports] = program.split('\n')
  const rest = imports.map((line) => line.replace(/^import (\{.*\}) from ('.*')$/, 'const $1 = require($2)'))
  const from = rest.findIndex((line) => line.startsWith('await'))
  return [head, ...rest.slice(0, from), 'void (async () => {', ...rest.slice(from), '})()'].join('\n')
}

/** @param {string} folder @param {string} file @param {string} program */
async function runTwice(folder, file, program) {
  writeFileSync(join(folder, file), program)
  const results = await Promise.all([run(folder, file), run(folder, file)])
  for (const result of results) assert.deepEqual(result, { code: 0, output: 'world\n' })
}

/** @param {string} folder @param {string[]} args */
function run(folder, ...args) {
  return runProgram(folder, process.execPath, args, 20_000)
}

/**
 * @param {string} folder
 * @param {string} program
 * @param {string[]} args
 * @param {number} timeout in milliseconds
 * @param {NodeJS.ProcessEnv} [environment]
 * @returns {Promise<{ code: number | null, output: string }>}
 */
function runProgram(folder, program, args, timeout, environment = process.env) {
  return new Promise((resolve, reject) => {
    const stdio = /** @type {const} */ (['ignore', 'pipe', 'pipe'])
    const child = spawn(program, args, { cwd: folder, timeout, stdio, env: environment })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}

/** @param {string} name @param {{ type: string }} manifest @param {string[]} tarballs */
async function typeScript(name, manifest, tarballs) {
  const folder = install(name, manifest, tarballs)
  const compilerOptions = {
    module: 'NodeNext',
    target: 'ES2022',
    strict: true,
    outDir: 'out',
    typeRoots: [],
    lib: ['ES2023', 'DOM', 'ESNext.Disposable'],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['peer.ts'] }))
  const program = `
    import { Connection, isPairlinkError, type ConnectionOptions } from '@pairlink/core'
    import { Link } from '@pairlink/core/protocol'
    import { local, unix } from '@pairlink/transport-net'
    import { aes256gcm, generateKey } from '@pairlink/crypto'
    import { tls, type TlsFiles } from '@pairlink/transport-tls'
    import { attachWs, webSocket, ws, type HttpServer } from '@pairlink/transport-ws'
    export const attached = (server: HttpServer) => attachWs(server, { origins: ['https://app.example'] })
    interface Api { add(input: { a: number; b: number }): number; now(): string }
    const options: ConnectionOptions<Api> = {
      transport: local('tarball-${name}-${process.pid}'),
      secret: 's',
      encryption: aes256gcm(new Uint8Array(32)),
      handlers: { add: ({ a, b }) => a + b, now: () => 'now' },
    }
    const connection = new Connection<Api>(options)
    async function main(): Promise<void> {
      await connection.connect()
      const sum: number = await connection.call('add', { a: 1, b: 2 })
      const now: string = await connection.call('now')
      const files: TlsFiles = { certFile: './cert.pem', keyFile: './key.pem' }
      const told = [unix('/x').reach, tls({ port: 1 }, files).encrypted, generateKey().length]
      told.push(ws({ port: 1 }).reach, webSocket('wss://app.example/x').encrypted)
      console.log(sum, now, typeof Link, ...told, isPairlinkError(undefined))
      await connection.close()
    }
    void main()
  `
  writeFileSync(join(folder, 'peer.ts'), program)
  execFileSync(bin('tsc'), ['-p', '.'], { cwd: folder, stdio: 'pipe' })
  const results = await Promise.all([run(folder, 'out/peer.js'), run(folder, 'out/peer.js')])
  for (const result of results)
    assert.deepEqual(result, { code: 0, output: '3 now function user true 32 host true false\n' })
}

/** @param {string} folder */
function sharedClasses(folder) {
  writeFileSync(
    join(folder, 'own.mjs'),
    `
    import { PairlinkError, isPairlinkError } from '@pairlink/core'
    import { createRequire } from 'node:module'
    const required = createRequire(import.meta.url)('@pairlink/core')
    if (required.PairlinkError === PairlinkError) throw new Error('expected two formats')
    if (!isPairlinkError(new required.PairlinkError('CLOSED', 'x'), 'CLOSED')) throw new Error('not known across formats')
  `,
  )
  execFileSync(process.execPath, ['own.mjs'], { cwd: folder, stdio: 'pipe' })
  for (const format of ['esm', 'cjs']) {
    const dist = join(folder, 'node_modules', '@pairlink', 'core', 'dist', format)
    const files = readdirSync(dist, { recursive: true })
      .map(String)
      .filter((file) => file.endsWith('.js'))
    const withLink = files.filter((file) => /class Link\b|Link = class/.test(readFileSync(join(dist, file), 'utf8')))
    assert.equal(withLink.length, 1, `${format}: class Link is in ${withLink.join(', ')}`)
  }
}

/** @param {string[]} tarballs */
function jest(tarballs) {
  const folder = install('jest', { type: 'commonjs' }, tarballs)
  writeFileSync(
    join(folder, 'pair.test.js'),
    `
    const { Connection } = require('@pairlink/core')
    const { local } = require('@pairlink/transport-net')
    test('two connections pair', async () => {
      const make = () => new Connection({ transport: local('tarball-jest-${process.pid}'), secret: 's', onQuery: (q) => q, logger: { error() {} } })
      const [a, b] = [make(), make()]
      await Promise.all([a.connect(), b.connect()])
      expect(await a.query('hello')).toBe('hello')
      expect(Array.from(await b.query(Buffer.from([1, 2, 3])))).toEqual([1, 2, 3])
      expect(await b.query({ deep: [1] })).toEqual({ deep: [1] })
      await Promise.all([a.close(), b.close()])
    })
  `,
  )
  execFileSync(
    process.execPath,
    [join(root, 'node_modules', 'jest', 'bin', 'jest.js'), '--rootDir', folder, '--watchman=false'],
    { cwd: folder, stdio: 'pipe' },
  )
}

/** Nobody who does not encrypt gets code that does. @param {string[]} tarballs */
function alone(tarballs) {
  const wanted = tarballs.filter((path) => /pairlink-(core|transport-net)-/.test(path))
  assert.equal(wanted.length, 2)
  const folder = join(work, 'alone')
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'alone', version: '0.0.0', private: true }))
  execFileSync('npm', ['install', '--offline', '--loglevel=error', ...wanted], { cwd: folder, env, stdio: 'pipe' })
  assert.deepEqual(readdirSync(join(folder, 'node_modules', '@pairlink')).sort(), ['core', 'transport-net'])
}

/** @param {string} folder */
function encrypted(folder) {
  const body = `
    const files = { certFile: './cert.pem', keyFile: './key.pem' }
    async function main() {
      saveKey('./pair.key', generateKey(), { overwrite: true })
      await generateCertificate({ ...files, overwrite: true })
      const make = () =>
        new Connection({
          transport: tls({ path: './tarball.sock' }, files),
          secret: 's',
          encryption: aes256gcm(loadKey('./pair.key')),
          onQuery: (query) => query,
          logger: { error() {} },
        })
      const [a, b] = [make(), make()]
      await Promise.all([a.connect(), b.connect()])
      console.log(await a.query('hello'))
      await Promise.all([a.close(), b.close()])
    }
    void main()
  `
  return bothFormats(folder, 'encrypted', body, [
    ['{ Connection }', '@pairlink/core'],
    ['{ aes256gcm, generateKey, loadKey, saveKey }', '@pairlink/crypto'],
    ['{ generateCertificate, tls }', '@pairlink/transport-tls'],
  ])
}

/** @param {string} folder */
function webSockets(folder) {
  const body = `
    async function main() {
      const server = createServer().listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      const options = { secret: 's', onQuery: (query) => query, logger: { error() {} } }
      const a = new Connection({ transport: attachWs(server), ...options })
      const url = 'ws://127.0.0.1:' + server.address().port + '/pairlink'
      const b = new Connection({ transport: webSocket(url), ...options })
      await Promise.all([a.connect(), b.connect()])
      console.log(await b.query('hello'))
      await Promise.all([a.close(), b.close()])
      server.close()
    }
    void main()
  `
  return bothFormats(folder, 'websocket', body, [
    ['{ createServer }', 'node:http'],
    ['{ Connection }', '@pairlink/core'],
    ['{ attachWs, webSocket }', '@pairlink/transport-ws'],
  ])
}

/** @param {string} folder */
async function nodeTest(folder) {
  const args = ['--test', join('conformance', 'node-test.mjs')]
  return passedCases(await runProgram(folder, process.execPath, args, 120_000))
}

/** @param {string} folder */
async function bunTest(folder) {
  // It is not made for every processor that Node.js runs on.
  if (spawnSync(bin('bun'), ['--version']).status !== 0) {
    return 'SKIPPED the cases of the testkit under bun test: Bun does not run here'
  }
  return passedCases(await runProgram(folder, bin('bun'), ['test', './conformance/bun.mjs'], 120_000))
}

/**
 * What a test runner counted.
 * @param {{ code: number | null, output: string }} result
 */
function passedCases({ code, output }) {
  assert.equal(code, 0, output)
  const counted = (/** @type {string} */ what) =>
    Number(new RegExp(`^\\W*(?:${what})$`, 'm').exec(output)?.slice(1).find(Boolean) ?? 0)
  const [passed, skipped] = [counted('pass (\\d+)|(\\d+) pass'), counted('skipped (\\d+)|(\\d+) skip')]
  assert(passed > 40, `only ${passed} cases passed:\n${output}`)
  return `${passed} pass, ${skipped} are skipped with a reason`
}

/**
 * An example that is a package of its own, used as by somebody who copies it, but that the tools are those of the workspace.
 * @param {string[]} tarballs
 * @param {{ name: string, needs: string[], where: string, modules: string[] }} example where its two processes meet; its modules
 */
async function transport(tarballs, { name: example, needs, where, modules }) {
  const folder = join(work, example)
  const isMade = (/** @type {string} */ path) => ['dist', 'node_modules'].includes(basename(path))
  cpSync(join(root, 'examples', example), folder, { recursive: true, filter: (path) => !isMade(path) })
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  for (const name of needs.map((each) => `@pairlink/${each}`)) {
    manifest.devDependencies[name] = `file:${tarball(tarballs, name)}`
  }
  const tools = ['@types/node', 'typescript']
  for (const name of tools) delete manifest.devDependencies[name]
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  execFileSync('npm', ['install', '--offline', '--loglevel=error'], { cwd: folder, env, stdio: 'pipe' })
  assert.deepEqual(readdirSync(join(folder, 'node_modules', '@pairlink')).sort(), needs)
  mkdirSync(join(folder, 'node_modules', '@types'))
  for (const name of tools) symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))

  const path = [dirname(bin('tsc')), process.env.PATH].join(delimiter)
  const told = passedCases(await runProgram(folder, 'npm', ['test'], 120_000, { ...env, PATH: path }))

  const results = await Promise.all([run(folder, 'example.mjs', where), run(folder, 'example.mjs', where)])
  assert.deepEqual(results.map(({ output }) => output).sort(), ['dialer world\n', 'listener world\n'])

  const packed = execFileSync('npm', ['pack', '--json', '--dry-run', '--ignore-scripts'], {
    cwd: folder,
    env,
    encoding: 'utf8',
  })
  const [{ files }] = JSON.parse(packed)
  const names = files.map((/** @type {{ path: string }} */ file) => file.path).sort()
  const built = modules.flatMap((module) => [`dist/src/${module}.d.ts`, `dist/src/${module}.js`])
  assert.deepEqual(names, ['README.md', ...built, 'package.json'])
  return told
}

/** @param {string[]} tarballs @param {string} name */
function tarball(tarballs, name) {
  const [path = ''] = tarballs.filter((each) =>
    basename(each).startsWith(`${name.replace('@', '').replace('/', '-')}-0`),
  )
  assert(path !== '', `${name} was packed`)
  return path
}

/**
 * Runs a program that prints hello, as ES module and by require.
 * @param {string} folder
 * @param {string} name
 * @param {string} body
 * @param {[names: string, from: string][]} imports
 */
async function bothFormats(folder, name, body, imports) {
  const asModule = imports.map(([names, from]) => `import ${names} from '${from}'`)
  const asScript = imports.map(([names, from]) => `const ${names} = require('${from}')`)
  for (const [file, head] of /** @type {const} */ ([
    [`${name}.mjs`, asModule],
    [`${name}.cjs`, asScript],
  ])) {
    writeFileSync(join(folder, file), `${head.join('\n')}\n${body}`)
    assert.deepEqual(await run(folder, file), { code: 0, output: 'hello\n' })
  }
}

/**
 * @param {string} folder
 * @param {string} name
 * @param {string} program
 * @param {string} expected what it tells when it runs
 */
function vite(folder, name, program, expected) {
  writeFileSync(join(folder, 'index.html'), '<script type="module" src="/main.js"></script>')
  writeFileSync(join(folder, 'main.js'), program)
  // What loads scripts of the page beforehand needs a page, and this one runs without.
  const config = { build: { modulePreload: { polyfill: false } } }
  writeFileSync(join(folder, 'vite.config.mjs'), `export default ${JSON.stringify(config)}`)
  const viteBin = join(dirname(dirname(bin('vite'))), 'vite', 'bin', 'vite.js')
  execFileSync(process.execPath, [viteBin, 'build', '--minify=false', '--logLevel=error'], {
    cwd: folder,
    stdio: 'pipe',
  })
  const assets = join(folder, 'dist', 'assets')
  const code = readdirSync(assets)
    .map((file) => readFileSync(join(assets, file), 'utf8'))
    .join('\n')
  assert.match(code, /PAIR_BUSY/, 'the bundle has the Connection')
  for (const pattern of [/["']node:/, /\brequire\(/, /\bprocess\./, /\bBuffer\b/, /__vite-browser-external/]) {
    assert.doesNotMatch(code, pattern, `the bundle has ${pattern}`)
  }
  const [file = ''] = readdirSync(assets).filter((entry) => entry.endsWith('.js'))
  const script = `globalThis.WebSocket ??= class {}; await import(${JSON.stringify(join(assets, file))}); console.log(globalThis.told)`
  const told = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  assert.equal(told, `${expected}\n`, name)
}
