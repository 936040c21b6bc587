// view.mjs: what is seen on the page, and where one clicks and types. It knows nothing of connections.

const MARKS_MAX = 110
const LINES_MAX = 60

const STATES = {
  idle: ['wait', 'Not begun'],
  meeting: ['wait', 'Looking for the Node process'],
  standby: ['wait', 'Waiting for its turn'],
  paired: ['good', 'Paired'],
  apart: ['bad', 'Apart, and looking again'],
  closing: ['wait', 'Closing'],
  closed: ['bad', 'Not paired'],
}

const byId = (id) => document.getElementById(id)
let answered, arrivedFirst, arrivedLast, arrivedCount, arrivedTwice, arrivedNumbers, askedCount, askedTwice, askedFailed

export function state(now, connection) {
  const [kind, text] = STATES[now]
  document.body.dataset.state = now
  document.body.dataset.kind = kind
  byId('state').textContent = text
  byId('role').textContent = connection.role ?? '–'
  byId('instance').textContent = connection.peer?.instance.slice(0, 8) ?? '–'
  byId('cut').disabled = now !== 'paired' && now !== 'apart'
  for (const button of document.querySelectorAll('form button')) button.disabled = byId('cut').disabled
}

/** A line with the time in front, unless the last one says the same. */
export function tell(text) {
  if (byId('log').firstChild?.lastChild.textContent === text) return
  const line = document.createElement('li')
  const time = document.createElement('time')
  time.textContent = new Date().toISOString().slice(11, 23)
  line.append(time, text)
  byId('log').prepend(line)
  while (byId('log').children.length > LINES_MAX) byId('log').lastChild.remove()
}

/** What somebody should know or do, until it is told otherwise. */
export function notice(text, action, act) {
  byId('notice').hidden = text === undefined
  byId('notice-text').textContent = text ?? ''
  byId('notice-action').hidden = action === undefined
  byId('notice-action').textContent = action ?? ''
  byId('notice-action').onclick = () => {
    notice(undefined)
    act()
  }
}

/** All counts begin anew. */
export function restart() {
  answered = askedCount = askedTwice = askedFailed = arrivedCount = arrivedTwice = 0
  arrivedFirst = arrivedLast = undefined
  arrivedNumbers = new Set()
  byId('asked').replaceChildren()
  byId('arrived').replaceChildren()
  counts()
}

/** A number was asked. What becomes of it is told to what is returned. */
export function asked(number) {
  askedCount += 1
  const mark = markIn('asked', number, 'open')
  counts()
  return (outcome) => {
    mark.className = outcome
    if (outcome !== 'failed') answered += 1
    if (outcome === 'twice') askedTwice += 1
    if (outcome === 'failed') askedFailed += 1
    counts()
  }
}

/** A number of the other side has come. It began before this page was there. */
export function arrived(number) {
  arrivedFirst ??= number
  arrivedLast = Math.max(arrivedLast ?? number, number)
  const isTwice = arrivedNumbers.has(number)
  if (isTwice) arrivedTwice += 1
  else arrivedCount += 1
  arrivedNumbers.add(number)
  markIn('arrived', number, isTwice ? 'twice' : 'answered')
  counts()
}

function markIn(row, number, outcome) {
  const mark = document.createElement('i')
  mark.className = outcome
  mark.title = `number ${number}`
  byId(row).append(mark)
  while (byId(row).children.length > MARKS_MAX) byId(row).firstChild.remove()
  return mark
}

function counts() {
  const missing = arrivedFirst === undefined ? 0 : arrivedLast - arrivedFirst + 1 - arrivedCount
  const open = askedCount - answered - askedFailed
  figures('asked-counts', { asked: askedCount, answered, open, failed: askedFailed, twice: askedTwice })
  figures('arrived-counts', { arrived: arrivedCount, missing, twice: arrivedTwice })
}

function figures(id, values) {
  const parts = Object.entries(values).map(([name, value]) => {
    const part = document.createElement('span')
    part.dataset.name = name
    part.append(Object.assign(document.createElement('b'), { textContent: value }), ` ${name}`)
    return part
  })
  byId(id).replaceChildren(...parts)
}

/** The link is cut for so long; undefined once it is mended. */
export function cut(delayMs) {
  document.body.classList.toggle('cut', delayMs !== undefined)
  document.body.style.setProperty('--cut-ms', `${delayMs ?? 0}ms`)
  byId('cut').textContent = delayMs === undefined ? 'Cut the link' : 'Mend it now'
}

export function onCut(act) {
  byId('cut').onclick = act
}

export function onAsk(ask) {
  onSubmit('ask', byId('ask-text'), ask)
}

export function onAskMe(ask) {
  onSubmit('ask-me', byId('question'), ask)
}

/** What this page answers when it is asked. */
export function answerTo(question) {
  tell(`The Node process asks: “${question}”`)
  return byId('answer').value
}

function onSubmit(id, field, ask) {
  const output = byId(`${id}-output`)
  byId(id).onsubmit = async (event) => {
    event.preventDefault()
    output.className = 'open'
    output.textContent = 'waiting for the answer …'
    try {
      output.textContent = await ask(field.value)
      output.className = 'answered'
    } catch (error) {
      output.textContent = `${error.code ?? ''} ${error.message}`
      output.className = 'failed'
    }
  }
}
