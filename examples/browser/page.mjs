// page.mjs: the page's side of the pair. What is seen is drawn by view.mjs.
import { Connection } from '@pairlink/core'
import { webSocket } from '@pairlink/transport-ws'
import { cuttable } from './cuttable.mjs'
import * as view from './view.mjs'

const TICK_MS = 250
const TICKS_OPEN_MAX = 80
const CUT_MS = 4000

const secret = document.querySelector('meta[name="pairlink-secret"]').content

let connection
let transport
let ticking
let mending

function start(whenBusy) {
  transport = cuttable(webSocket(`ws://${location.host}/pairlink`))
  connection = new Connection({
    transport,
    secret,
    whenBusy,
    whenApart: 'wait',
    queryTimeoutMs: 20_000,
    handlers: {
      question: (text) => view.answerTo(text),
      tick: (number) => view.arrived(number),
    },
  })
  connection.on('state', ({ now }) => view.state(now, connection))
  connection.on('paired', ({ peer }) => {
    view.notice(undefined)
    view.tell(peer === 'same' ? 'Paired again: the session goes on' : 'Paired, and both have proven the secret')
    if (peer === 'new') count()
  })
  connection.on('apart', ({ error }) =>
    view.tell(error === undefined ? 'The Node process has said goodbye' : error.message),
  )
  connection.on('reset', () => view.tell('The session was lost'))
  connection.on('waiting', ({ error }) => view.notice(error?.message))
  connection.on('closed', ({ error }) => {
    clearInterval(ticking)
    if (error !== undefined) failed(error)
  })
  connection.connect({ timeoutMs: Infinity }).catch(failed)
}

function failed(error) {
  const isBusy = error.code === 'PAIR_BUSY'
  view.state('closed', connection)
  view.notice(
    isBusy ? 'PAIR_BUSY: the Node process is paired with another tab.' : `${error.code}: ${error.message}`,
    isBusy ? 'Wait until it is closed' : 'Load the page again',
    isBusy ? () => start('wait') : () => location.reload(),
  )
}

/** Asks a number four times a second, so that it is seen what becomes of queries while the link is cut. */
function count() {
  let number = 0
  let open = 0
  clearInterval(ticking)
  view.restart()
  ticking = setInterval(async () => {
    if (open >= TICKS_OPEN_MAX) return
    open += 1
    const mark = view.asked(++number)
    try {
      mark((await connection.call('tick', number)) ? 'twice' : 'answered')
    } catch {
      mark('failed')
    } finally {
      open -= 1
    }
  }, TICK_MS)
}

view.onAsk((text) => connection.call('hello', text))
view.onAskMe((question) => connection.call('askMe', question))
view.onCut(() => {
  if (mending === undefined) {
    view.tell('You cut the link')
    transport.cut()
    mending = setTimeout(mend, CUT_MS)
    view.cut(CUT_MS)
  } else {
    mend()
  }
})

function mend() {
  clearTimeout(mending)
  mending = undefined
  transport.mend()
  view.cut(undefined)
}

// The Node process hears at once that this page is gone. One that comes back out of the browser's memory begins anew.
addEventListener('pagehide', () => void connection.close({ drainMs: 0 }))
addEventListener('pageshow', ({ persisted }) => persisted && location.reload())

start('reject')
