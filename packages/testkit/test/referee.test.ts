/** The referee finds each rule when it is broken, and only then. The bytes are made here, by hand. */
import { readFileSync } from 'node:fs'
import { expect, test, describe } from 'vitest'
import type { Limits } from '@pairlink/core'
import type { Side } from '../src/sim/referee.js'
import * as f from './referee.frames.js'
import { Scene, type TestPipe } from './referee.frames.js'

type Play = (scene: Scene) => void
interface Case<Begun> {
  /** What is the same in both plays. */
  readonly begin: (scene: Scene) => Begun
  readonly kept: (begun: Begun, scene: Scene) => void
  readonly broken: (begun: Begun, scene: Scene) => void
  readonly limits?: Partial<Limits>
}

function rulesOf(play: Play, limits: Partial<Limits> = {}): string[] {
  const scene = new Scene(limits)
  play(scene)
  scene.referee.look()
  return scene.rules
}

/** Two plays that begin alike: in the first one nothing is found, in the second the rule and nothing else. */
function ruleAfter<Begun>(name: string, what: string, { begin, kept, broken, limits }: Case<Begun>): void {
  const found = (play: Case<Begun>['kept']): string[] =>
    rulesOf((scene) => {
      play(begin(scene), scene)
    }, limits)
  test(`${name}: ${what}`, () => {
    expect(found(kept)).toEqual([])
    expect(found(broken)).toEqual([name])
  })
}

/** The same for plays of which each is told from its beginning. */
function rule(name: string, what: string, plays: Omit<Case<Scene>, 'begin'>): void {
  ruleAfter(name, what, { begin: (scene) => scene, ...plays })
}

/** A link on which one side has said this. */
const said =
  (from: Side, ...frames: number[][]) =>
  (s: Scene): TestPipe => {
    const pipe = s.link()
    pipe.say(from, ...frames)
    return pipe
  }

const A = 0x10000
const B = 0x10001
const C = 0x10002

describe('preamble and frames', () => {
  const first = (claim = { attempt: 1, fresh: f.id16(1) }): number[] =>
    f.hello({ side: 0, instance: f.id16(0xaa), claim })
  rule('wire-preamble', 'the magic is there', {
    kept: (s) => s.pipe().say('dialer', f.preamble(first())),
    broken: (s) => s.pipe().say('dialer', f.utf8('PLNX'), [1, 0, 0, 200]),
  })
  rule('wire-preamble', 'the first message is as long as it says', {
    kept: (s) => s.pipe().hello('dialer', { claim: { attempt: 1, fresh: f.id16(1) } }),
    broken: (s) => s.pipe().say('dialer', f.preamble([...first(), 0]), first()),
  })
  rule('wire-frame', 'a frame says nothing but what its kind has', {
    kept: (s) => s.link().write('dialer', f.ping(1)),
    broken: (s) => s.link().write('dialer', f.frame(33, { id: 1 }, f.int(1, 8))),
  })
  rule('wire-frame-length', 'no frame is longer than what the other accepts', {
    kept: (s) => s.link().write('dialer', f.query(A, 1, f.FOREVER, 4096 - 12 - 5)),
    broken: (s) => s.link().write('dialer', f.query(A, 1, f.FOREVER, 4096 - 12 - 4)),
  })
  test('bytes may come in any pieces, and the frames are the same', () => {
    const scene = new Scene()
    const pipe = scene.proven()
    for (const byte of [f.welcome(false, f.id16(1)), f.ack(0)].flat()) pipe.say('listener', [byte])
    for (const byte of [f.ack(0), f.query(A, 1), f.cancel(A)].flat()) pipe.say('dialer', [byte])
    expect(scene.rules).toEqual([])
    expect(scene.referee.frames).toBe(8)
    expect(scene.referee.hasArrived(1)).toBe(true)
  })
})

describe('states and the handshake', () => {
  rule('wire-state', 'the listener sends nothing before it has read preamble and HELLO', {
    kept: (s) => {
      const pipe = s.pipe()
      pipe.hello('dialer', { claim: { attempt: 1, fresh: f.id16(1) } })
      pipe.hello('listener')
    },
    broken: (s) => {
      s.pipe().hello('listener')
    },
  })
  rule('wire-state', 'the dialer sends nothing between PROVE and WELCOME', {
    kept: (s) => void s.link(),
    broken: (s) => s.proven().say('dialer', f.ack(0)),
  })
  rule('wire-state', 'nothing follows a REFUSE', {
    kept: (s) => s.proven().say('listener', f.refuse(5)),
    broken: (s) => s.proven().say('listener', f.refuse(5), f.ack(0)),
  })
  rule('wire-state', 'an open link has no handshake', {
    kept: (s) => void s.link(),
    broken: (s) => s.link().say('dialer', f.prove()),
  })
  rule('wire-first-ack', 'the first frame behind WELCOME is an ACK', {
    kept: (s) => void s.link(),
    broken: (s) => s.proven().say('listener', f.welcome(false, f.id16(1)), f.ping(1)),
  })
  rule('wire-hello', 'the announced limits are the own', {
    kept: (s) => s.pipe().hello('dialer', { claim: { attempt: 1, fresh: f.id16(1) } }),
    broken: (s) =>
      s.pipe().hello('dialer', {
        claim: { attempt: 1, fresh: f.id16(1) },
        limits: { ...f.LIMITS, replayBytesMax: 7999 },
      }),
  })
  rule('wire-hello', 'a listener claims nothing', {
    kept: (s) => void s.proven(),
    broken: (s) => {
      const pipe = s.pipe()
      pipe.hello('dialer', { claim: { attempt: 1, fresh: f.id16(1) } })
      pipe.hello('listener', { claim: { attempt: 1 } })
    },
  })
  rule('wire-hello', 'each link has a nonce of its own', {
    kept: (s) => void s.proven(),
    broken: (s) => {
      const nonce = f.int(77, 32)
      s.pipe().hello('dialer', { nonce, claim: { attempt: 1, fresh: f.id16(1) } })
      s.pipe().hello('dialer', { nonce, claim: { attempt: 2, fresh: f.id16(1) } })
    },
  })
  rule('wire-attempt', 'attempts rise with every dial', {
    kept: (s) => {
      s.pipe().hello('dialer', { claim: { attempt: 1, fresh: f.id16(1) } })
      s.pipe().hello('dialer', { claim: { attempt: 2, fresh: f.id16(1) } })
    },
    broken: (s) => {
      s.pipe().hello('dialer', { claim: { attempt: 2, fresh: f.id16(1) } })
      s.pipe().hello('dialer', { claim: { attempt: 2, fresh: f.id16(1) } })
    },
  })
  ruleAfter('wire-attempt', 'a delayed attempt does not replace the link', {
    begin: (s) => {
      const [old, next] = [s.proven(), s.proven({ attempt: 2, fresh: f.id16(1) })]
      next.say('listener', f.welcome(false, f.id16(1)))
      return old
    },
    kept: (old) => old.end(),
    broken: (old) => old.write('listener', f.welcome(false, f.id16(1))),
  })
  rule('wire-turned-away', 'whoever has proven the secret is let in or told why not, unless its attempt is late', {
    kept: (s) => {
      const [old, next] = [s.proven(), s.proven({ attempt: 2, fresh: f.id16(1) })]
      next.say('listener', f.welcome(false, f.id16(1)))
      old.watched.destroyed('listener')
    },
    broken: (s) => s.proven().watched.destroyed('listener'),
  })
  rule('wire-fresh', 'the fresh id stays until a WELCOME was read', {
    kept: (s) => {
      s.proven().write('listener', f.welcome(false, f.id16(1)))
      s.proven({ attempt: 2, fresh: f.id16(1) })
    },
    broken: (s) => {
      s.proven().write('listener', f.welcome(false, f.id16(1)))
      s.proven({ attempt: 2, fresh: f.id16(2) })
    },
  })
  rule('wire-fresh', 'it is never used again', {
    kept: (s) => {
      s.link().end()
      s.proven({ attempt: 2, fresh: f.id16(2) })
    },
    broken: (s) => {
      s.link().end()
      s.proven({ attempt: 2, fresh: f.id16(1) })
    },
  })
  rule('wire-refuse', 'busy is for those who have proven the secret', {
    kept: (s) => s.proven().say('listener', f.refuse(5)),
    broken: (s) => {
      const pipe = s.pipe()
      pipe.hello('dialer', { claim: { attempt: 1, fresh: f.id16(1) } })
      pipe.say('listener', f.preamble(f.refuse(5), 0x80), f.refuse(5))
    },
  })
  rule('wire-refuse', 'an honest dialer is not refused', {
    kept: (s) => void s.link(),
    broken: (s) => s.proven().say('listener', f.refuse(6)),
  })
})

describe('claim and WELCOME', () => {
  const withTwo = (s: Scene): Scene => {
    const pipe = s.link()
    pipe.say('listener', f.notify(1), f.notify(2))
    pipe.say('dialer', f.notify(3))
    pipe.end()
    return s
  }
  ruleAfter('wire-claim', 'the claim counts what was given whole', {
    begin: withTwo,
    kept: (s) => s.proven(s.again(2)),
    broken: (s) => s.proven(s.again(1)),
  })
  ruleAfter('wire-claim', 'a frame of which a byte is missing does not count', {
    begin: (s) => {
      const pipe = s.link()
      pipe.write('listener', f.notify(1))
      pipe.arrive('listener', f.notify(1).length - 1)
      pipe.end()
      return s
    },
    kept: (s) => s.proven(s.again(0)),
    broken: (s) => s.proven(s.again(1)),
  })
  ruleAfter('wire-claim', 'nothing is claimed but the session that is held', {
    begin: (s) => {
      s.link().end()
      s.link({ attempt: 2, fresh: f.id16(2) }).end()
      return s
    },
    kept: (s) => s.proven({ attempt: 3, session: f.id16(2), received: 0, peer: s.b.instance, fresh: f.id16(3) }),
    broken: (s) => s.proven({ attempt: 3, session: f.id16(1), received: 0, peer: s.b.instance, fresh: f.id16(3) }),
  })
  rule('wire-claim', 'a session ends with the link on which CLOSE was read', {
    kept: (s) => {
      const pipe = s.link()
      pipe.write('listener', f.close())
      pipe.end()
      s.proven(s.again(0))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.say('listener', f.close())
      pipe.end()
      s.proven(s.again(0))
    },
  })
  rule('wire-claim', 'what was behind a WELCOME that nobody has answered counts whole or not at all', {
    kept: (s) => {
      for (const taken of [0, 2]) {
        const scene = taken === 0 ? s : new Scene()
        withTwo(scene)
        const lost = scene.proven(scene.again(2))
        lost.say('listener', f.welcome(true, f.id16(1), 1), f.ack(1), f.notify(4), f.notify(5))
        lost.end()
        scene.proven({ ...scene.again(2 + taken), attempt: 3 })
        if (scene !== s) expect(scene.rules).toEqual([])
        expect(scene.referee.hasArrived(4)).toBe(taken > 0)
      }
    },
    broken: (s) => {
      withTwo(s)
      const lost = s.proven(s.again(2))
      lost.say('listener', f.welcome(true, f.id16(1), 1), f.ack(1), f.notify(4), f.notify(5))
      lost.end()
      s.proven({ ...s.again(3), attempt: 3 })
    },
  })
  ruleAfter('wire-welcome-count', 'WELCOME counts what was given whole', {
    begin: withTwo,
    kept: (s) => s.proven(s.again(2)).say('listener', f.welcome(true, f.id16(1), 1)),
    broken: (s) => s.proven(s.again(2)).say('listener', f.welcome(true, f.id16(1), 0)),
  })
  ruleAfter('wire-welcome-count', 'a link that another has replaced does not count', {
    begin: (s) => {
      const old = s.link()
      old.write('dialer', f.notify(1), f.notify(2))
      old.arrive('dialer', f.notify(1).length)
      const next = s.proven(s.again(0))
      next.say('listener', f.welcome(true, f.id16(1), 1), f.ack(1))
      old.arrive('dialer')
      next.end()
      return s
    },
    kept: (s) =>
      s.proven({ ...s.again(0), attempt: 3, fresh: f.id16(3) }).write('listener', f.welcome(true, f.id16(1), 1)),
    broken: (s) =>
      s.proven({ ...s.again(0), attempt: 3, fresh: f.id16(3) }).write('listener', f.welcome(true, f.id16(1), 2)),
  })
  rule('wire-welcome-session', 'only a session that both have is resumed', {
    kept: (s) => {
      s.link().end()
      s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1)))
    },
    broken: (s) => {
      s.link().end()
      s.proven({ attempt: 2, fresh: f.id16(2) }).write('listener', f.welcome(true, f.id16(1)))
    },
  })
  ruleAfter('wire-welcome-session', 'what is claimed while its link lives is resumed', {
    begin: (s) => {
      const pipe = s.link()
      pipe.watched.over('dialer')
      return s
    },
    kept: (s) => s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1))),
    broken: (s) => s.proven(s.again(0)).write('listener', f.welcome(false, f.id16(2))),
  })
  rule('wire-welcome-session', 'a new session has the id that was offered', {
    kept: (s) => s.proven().write('listener', f.welcome(false, f.id16(1))),
    broken: (s) => s.proven().write('listener', f.welcome(false, f.id16(9))),
  })
  rule('wire-welcome-session', 'after CLOSE was read nothing is resumed', {
    kept: (s) => {
      const pipe = s.link()
      pipe.write('dialer', f.close())
      pipe.end()
      s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1)))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.close())
      pipe.end()
      s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1)))
    },
  })
  rule('wire-welcome-busy', 'there is one pair at a time', {
    kept: (s) => {
      s.link().watched.over('listener')
      s.proven({ attempt: 1, fresh: f.id16(7) }, s.c).write('listener', f.welcome(false, f.id16(7)))
    },
    broken: (s) => {
      s.link()
      s.proven({ attempt: 1, fresh: f.id16(7) }, s.c).write('listener', f.welcome(false, f.id16(7)))
    },
  })
  test('a lost WELCOME costs nothing: the session goes on from frame 1, or another begins under its id', () => {
    for (const call of [1, 2]) {
      const scene = new Scene()
      const lost = scene.proven()
      lost.write('listener', f.welcome(false, f.id16(1)), f.ack(0), f.notify(1))
      lost.end()
      const next = scene.proven({ attempt: 2, fresh: f.id16(1) })
      next.say('listener', f.welcome(false, f.id16(1)), f.ack(0), f.notify(call))
      next.say('dialer', f.ack(1))
      expect(scene.rules).toEqual([])
      expect(scene.referee.hasArrived(call)).toBe(true)
    }
    const scene = new Scene()
    const lost = scene.proven()
    lost.write('listener', f.welcome(false, f.id16(1)), f.ack(0), f.notify(1))
    lost.end()
    scene.proven({ attempt: 2, fresh: f.id16(1) }).write('listener', f.welcome(false, f.id16(1)), f.ack(0), f.close())
    expect(scene.rules).toEqual([])
  })
})

describe('counts and replay', () => {
  const cut = (s: Scene, ...frames: number[][]): void => {
    const pipe = s.link()
    pipe.write('listener', ...frames)
    pipe.end()
  }
  const resumed = (s: Scene, ...frames: number[][]): void => {
    const pipe = s.proven(s.again(0))
    pipe.say('listener', f.welcome(true, f.id16(1)), f.ack(0), ...frames)
    pipe.say('dialer', f.ack(0))
  }
  rule('wire-replay', 'frames are repeated as they were, but for the remaining time', {
    kept: (s) => {
      cut(s, f.notify(1), f.query(A, 2, 500))
      resumed(s, f.notify(1), f.query(A, 2, 300))
    },
    broken: (s) => {
      cut(s, f.notify(1, 9), f.query(A, 2, 500))
      resumed(s, f.notify(1, 10), f.query(A, 2, 300))
    },
  })
  rule('wire-replay', 'no number is left out', {
    kept: (s) => {
      cut(s, f.notify(1), f.notify(2), f.notify(3))
      resumed(s, f.notify(1), f.notify(2), f.notify(3), f.notify(4))
    },
    broken: (s) => {
      cut(s, f.notify(1), f.notify(2), f.notify(3))
      resumed(s, f.notify(2), f.notify(3))
    },
  })
  rule('wire-replay', 'a PING has no number', {
    kept: (s) => {
      cut(s, f.notify(1), f.ping(1), f.notify(2))
      resumed(s, f.ping(2), f.notify(1), f.notify(2))
    },
    broken: (s) => {
      cut(s, f.notify(1), f.ping(1), f.notify(2))
      resumed(s, f.ping(2), f.notify(2))
    },
  })
  ruleAfter('wire-call-once', 'what was taken over is not written again', {
    begin: (s) => {
      const pipe = s.link()
      pipe.say('listener', f.notify(1))
      pipe.end()
      return s.proven(s.again(1))
    },
    kept: (next) => next.say('listener', f.welcome(true, f.id16(1)), f.ack(0), f.notify(2)),
    broken: (next) => next.say('listener', f.welcome(true, f.id16(1)), f.ack(0), f.notify(1)),
  })
  rule('wire-call-once', 'no call goes out in a second session, whatever its content is', {
    kept: (s) => {
      s.link().write('dialer', f.frame(20, { content: f.TEXT }, [0], f.utf8('12 abc')))
      s.link({ attempt: 2, fresh: f.id16(2) }).write(
        'dialer',
        f.frame(20, { content: f.JSON_TEXT }, [0], f.utf8('[13,"abc"]')),
      )
    },
    broken: (s) => {
      s.link().write('dialer', f.frame(20, { content: f.TEXT }, [0], f.utf8('12 abc')))
      s.link({ attempt: 2, fresh: f.id16(2) }).write(
        'dialer',
        f.frame(20, { content: f.JSON_TEXT }, [0], f.utf8('[12,"abc"]')),
      )
    },
  })
  rule('wire-window', 'no more is unacknowledged than the own replayBytesMax and one frame', {
    limits: { handlersMax: 64 },
    kept: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.query(A, 1, f.FOREVER, 4000), f.query(B, 2, f.FOREVER, 4000))
      pipe.say('listener', f.ack(1))
      pipe.say('dialer', f.query(C, 3), f.query(C + 1, 4))
      pipe.say('listener', f.ack(4))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.say('dialer', ...Array.from({ length: 20 }, (_, at) => f.query(A + at, 1 + at, f.FOREVER, 4000)))
      pipe.say('listener', f.ack(20))
    },
  })
  ruleAfter('wire-ack-honest', 'nothing is acknowledged that was not given whole', {
    begin: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.notify(1))
      pipe.write('dialer', f.notify(2))
      return pipe
    },
    kept: (pipe) => pipe.say('listener', f.ack(1)),
    broken: (pipe) => pipe.say('listener', f.ack(2)),
  })
  ruleAfter('wire-ack-back', 'counts do not go back, and not below what a handshake has stated', {
    begin: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.notify(1))
      pipe.end()
      return s
    },
    kept: (s) => s.proven(s.again(0)).say('listener', f.welcome(true, f.id16(1), 1), f.ack(1), f.ack(1, 72)),
    broken: (s) => s.proven(s.again(0)).say('listener', f.welcome(true, f.id16(1), 1), f.ack(0)),
  })
  ruleAfter('wire-consumed-honest', 'no more is consumed than was notified', {
    begin: said('dialer', f.notify(1)),
    kept: (pipe) => pipe.say('listener', f.ack(1, 72)),
    broken: (pipe) => pipe.say('listener', f.ack(1, 73)),
  })
  ruleAfter('wire-ack-due', 'a frame is reported 20 ms after it came', {
    begin: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.notify(1))
      s.pass(20)
      return pipe
    },
    kept: (pipe, s) => {
      pipe.say('listener', f.ack(1))
      s.pass(100)
    },
    broken: (pipe, s) => {
      pipe.say('listener', f.ack(0))
      s.pass(31)
    },
  })
  test('an ACK is not due from one who was stopped, whose pipe is full, or who has let go', () => {
    for (const hinder of ['stopped', 'full', 'over'] as const) {
      const scene = new Scene()
      const pipe = scene.link()
      if (hinder === 'full') pipe.watched.full('listener', true)
      pipe.say('dialer', f.notify(1))
      if (hinder === 'over') pipe.watched.over('listener')
      if (hinder === 'stopped') scene.b.awake = Infinity
      scene.pass(500)
      scene.b.awake = hinder === 'stopped' ? scene.now : 0
      if (hinder === 'full') pipe.watched.full('listener', false)
      scene.pass(50)
      expect(scene.rules, hinder).toEqual([])
      scene.pass(1)
      expect(scene.rules, hinder).toEqual(hinder === 'over' ? [] : ['wire-ack-due'])
    }
  })
  rule('wire-ack-enough', '256 frames are reported at once', {
    limits: { replayBytesMax: 1e6, inboxBytesMax: 1e6 },
    kept: (s) => {
      const pipe = s.link()
      for (let call = 0; call < 255; call++) pipe.say('dialer', f.cancel(A))
      s.pass(6)
      pipe.say('listener', f.ack(255))
    },
    broken: (s) => {
      const pipe = s.link()
      for (let call = 0; call < 256; call++) pipe.say('dialer', f.cancel(A))
      s.pass(6)
      pipe.say('listener', f.ack(256))
    },
  })
  rule('wire-ack-enough', 'a quarter of the smaller window is reported at once', {
    kept: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.notify(1, 500 - 12 - 2))
      s.pass(6)
      pipe.say('listener', f.ack(1))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.notify(1, 500 - 12 - 1))
      s.pass(6)
      pipe.say('listener', f.ack(1))
    },
  })
})

describe('queries and answers', () => {
  rule('wire-slot', 'a slot is in range', {
    limits: { handlersMax: 1 },
    kept: (s) => s.link().write('dialer', f.query(0x1000f, 1)),
    broken: (s) => s.link().write('dialer', f.query(0x10010, 1)),
  })
  ruleAfter('wire-slot', 'a slot is taken until the asker has read the answer', {
    begin: said('dialer', f.query(A, 1)),
    kept: (pipe) => {
      pipe.say('listener', f.ack(1), f.answer(A, 1))
      pipe.say('dialer', f.ack(1), f.query(0x20000, 2))
      pipe.say('listener', f.ack(2))
    },
    broken: (pipe) => {
      pipe.write('listener', f.ack(1), f.answer(A, 1))
      pipe.say('dialer', f.query(0x20000, 2))
      pipe.say('listener', f.ack(2))
    },
  })
  ruleAfter('wire-slot', 'the generation is another each time', {
    begin: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.query(A, 1))
      pipe.say('listener', f.ack(1), f.answer(A, 1))
      return pipe
    },
    kept: (pipe) => pipe.write('dialer', f.query(0x20000, 2)),
    broken: (pipe) => pipe.write('dialer', f.query(A, 2)),
  })
  rule('wire-query-held', 'who runs no handler holds back at handlersMax', {
    kept: (s) => {
      const pipe = s.link()
      pipe.write('dialer', f.query(A, 1), f.query(B, 2))
      pipe.say('listener', f.query(A, 3))
      pipe.write('dialer', f.query(C, 4))
    },
    broken: (s) => s.link().write('dialer', f.query(A, 1), f.query(B, 2), f.query(C, 3)),
  })
  ruleAfter('wire-answer', 'a query has one answer', {
    begin: said('dialer', f.query(A, 1), f.query(B, 2)),
    kept: (pipe) => pipe.say('listener', f.answer(B, 2), f.fail(A, 1)),
    broken: (pipe) => pipe.say('listener', f.answer(B, 2), f.fail(B, 1)),
  })
  rule('wire-answer', 'a query is answered when all of it was read', {
    kept: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.queryBegin(A, 1, 20, 10), f.more(16, f.LAST, A, 10))
      pipe.write('listener', f.answer(A, 1))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.queryBegin(A, 1, 20, 10))
      pipe.write('dialer', f.more(16, f.LAST, A, 10))
      pipe.write('listener', f.answer(A, 1))
    },
  })
  rule('wire-answer', 'one that was cancelled half way is answered all the same', {
    kept: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.queryBegin(A, 1, 20, 10), f.cancel(A))
      pipe.write('listener', f.fail(A, 4))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.write('dialer', f.queryBegin(A, 1, 20, 10), f.cancel(A))
      pipe.arrive('dialer', f.queryBegin(A, 1, 20, 10).length)
      pipe.write('listener', f.fail(A, 4))
    },
  })
  rule('wire-answer', 'nothing is answered that was not asked', {
    kept: (s) => void s.link(),
    broken: (s) => s.link().write('listener', f.fail(A, 1)),
  })
  ruleAfter('wire-answer-number', 'an answer is that of its query', {
    begin: said('dialer', f.query(A, 1), f.query(B, 2)),
    kept: (pipe) => pipe.write('listener', f.answer(B, 2), f.answer(A, 1)),
    broken: (pipe) => pipe.write('listener', f.answer(A, 2)),
  })
  rule('wire-fail-reason', 'cancelled is what a CANCEL has reached', {
    kept: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.query(A, 1), f.cancel(A))
      pipe.write('listener', f.fail(A, 4))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.query(A, 1))
      pipe.write('dialer', f.cancel(A))
      pipe.write('listener', f.fail(A, 4))
    },
  })
  ruleAfter('wire-fail-reason', 'expired is what had its time', {
    begin: said('dialer', f.query(A, 1, 40)),
    kept: (pipe, s) => {
      s.pass(40)
      pipe.write('listener', f.ack(1), f.fail(A, 5))
    },
    broken: (pipe, s) => {
      s.pass(30)
      pipe.write('listener', f.ack(1), f.fail(A, 5))
    },
  })
  ruleAfter('wire-expired', 'what comes with no time left is answered as expired', {
    begin: said('dialer', f.query(A, 1, 0)),
    kept: (pipe) => pipe.write('listener', f.fail(A, 5)),
    broken: (pipe) => pipe.write('listener', f.answer(A, 1)),
  })
  test('a query that comes with no time left has arrived, and cannot run', () => {
    const scene = new Scene()
    const pipe = scene.link()
    pipe.say('dialer', f.query(A, 1, 0), f.query(B, 2, 1))
    expect([1, 2].map((call) => scene.referee.hasArrived(call))).toEqual([true, true])
    expect([1, 2].map((call) => scene.referee.mayHaveRun(call))).toEqual([false, true])
  })
  ruleAfter('wire-remaining', 'the remaining time is true when it is written, and when it is written again', {
    begin: (s) => {
      s.expiries.set(1, s.now + 500)
      const pipe = s.link()
      pipe.write('dialer', f.query(A, 1, 499))
      pipe.end()
      s.pass(100)
      s.proven(s.again(0)).say('listener', f.welcome(true, f.id16(1)), f.ack(0))
      const next = s.proven({ ...s.again(0), attempt: 3 })
      next.say('listener', f.welcome(true, f.id16(1)), f.ack(0))
      return next
    },
    kept: (next) => next.say('dialer', f.ack(0), f.query(A, 1, 400)),
    broken: (next) => next.say('dialer', f.ack(0), f.query(A, 1, 499)),
  })
  ruleAfter('wire-remaining', 'no limit is said of what has none, and 0 of what nobody waits for', {
    begin: (s) => {
      s.expiries
        .set(1, Infinity)
        .set(2, s.now - 50)
        .set(3, s.now + 50)
      return s
    },
    limits: { handlersMax: 4 },
    kept: (s) => {
      s.link().write('dialer', f.query(A, 1), f.query(B, 2, 0), f.query(C, 3, 0))
      // The caller of the third is told in this moment.
      s.expiries.set(3, 0)
    },
    broken: (s) => s.link().write('dialer', f.query(A, 1, 0), f.query(B, 2, 1), f.query(C, 3, 0)),
  })
})

describe('fragments', () => {
  const parts =
    (...frames: number[][]): Play =>
    (s) => {
      const pipe = s.link()
      pipe.say('dialer', ...frames)
      pipe.say('listener', f.ack(frames.length))
    }
  rule('wire-fragments', 'they make up the total', {
    kept: parts(f.queryBegin(A, 1, 30, 10), f.more(16, f.FURTHER, A, 10), f.more(16, f.LAST, A, 10)),
    broken: parts(f.queryBegin(A, 1, 30, 10), f.more(16, f.LAST, A, 10)),
  })
  rule('wire-fragments', 'each has a byte', {
    kept: parts(f.queryBegin(A, 1, 11, 10), f.more(16, f.LAST, A, 1)),
    broken: (s) => s.link().write('dialer', f.queryBegin(A, 1, 11, 10), f.more(16, f.LAST, A, 0)),
  })
  rule('wire-fragments', 'all have the content of the first', {
    kept: parts(f.queryBegin(A, 1, 11, 10), f.frame(16, { flags: f.LAST, content: f.BYTES, id: A }, [1])),
    broken: parts(f.queryBegin(A, 1, 11, 10), f.frame(16, { flags: f.LAST, content: f.TEXT, id: A }, [1])),
  })
  rule('wire-message-bytes', 'no message is larger than the reader allows', {
    kept: parts(f.queryBegin(A, 1, 20_000, 10)),
    broken: parts(f.queryBegin(A, 1, 20_001, 10)),
    limits: { reassemblyBytesMax: 40_000 },
  })
  rule('wire-reassembly', "what is open at once is within the reader's limit", {
    kept: parts(f.queryBegin(A, 1, 10_000, 10), f.queryBegin(B, 2, 10_000, 10)),
    broken: parts(f.queryBegin(A, 1, 10_000, 10), f.queryBegin(B, 2, 10_001, 10)),
  })
  rule('wire-reassembly', 'a CANCEL makes room', {
    kept: parts(f.queryBegin(A, 1, 20_000, 10), f.cancel(A), f.queryBegin(B, 2, 20_000, 10)),
    broken: parts(f.queryBegin(A, 1, 20_000, 10), f.cancel(B), f.queryBegin(B, 2, 20_000, 10)),
  })
  rule('wire-stop', 'a CANCEL half way is the last word', {
    kept: parts(f.query(A, 1), f.cancel(A), f.cancel(A)),
    broken: parts(f.queryBegin(A, 1, 20, 10), f.cancel(A), f.cancel(A)),
  })
  test('a fragment behind such a CANCEL belongs to nothing', () => {
    expect(rulesOf(parts(f.queryBegin(A, 1, 20, 10), f.cancel(A), f.more(16, f.LAST, A, 10)))).toEqual([
      'wire-fragments',
    ])
  })
  ruleAfter('wire-stop', 'a FAIL takes the place of an answer that has begun', {
    begin: said('dialer', f.query(A, 1)),
    kept: (pipe) => pipe.write('listener', f.answerBegin(A, 1, 30, 10), f.more(17, f.FURTHER, A, 10), f.fail(A, 1)),
    broken: (pipe) => {
      const begun = f.frame(18, { flags: f.FIRST, content: f.BYTES, id: A }, f.int(9, 8), [1, 0, 0, 0], [1])
      pipe.write('listener', f.answerBegin(A, 1, 30, 10), begun, f.more(17, f.LAST, A, 20))
    },
  })
  rule('wire-notify-order', 'nothing is notified between the fragments of another', {
    kept: parts(f.notifyBegin(1, 1, 20, 10), f.query(A, 2), f.more(20, f.LAST, 1, 10), f.notify(3)),
    broken: parts(f.notifyBegin(1, 1, 20, 10), f.notify(3), f.more(20, f.LAST, 1, 10), f.query(A, 2)),
  })
})

describe('flow', () => {
  ruleAfter('wire-credit', 'what is notified and not consumed is within the inbox', {
    begin: said('dialer', f.notify(1, 936)),
    kept: (pipe) => {
      pipe.say('listener', f.ack(1, 1000))
      pipe.say('dialer', f.notify(2, 936), f.notify(3, 936))
      pipe.say('listener', f.ack(3, 1000))
    },
    broken: (pipe) => {
      pipe.write('listener', f.ack(1, 1000))
      pipe.say('dialer', f.notify(2, 936), f.notify(3, 936))
      pipe.say('listener', f.ack(3, 1000))
    },
  })
  ruleAfter('wire-credit', 'one that is larger goes when everything before was consumed', {
    begin: said('dialer', f.notify(1)),
    kept: (pipe) => {
      pipe.say('listener', f.ack(1, 72))
      pipe.write('dialer', f.notify(2, 3000))
    },
    broken: (pipe) => {
      pipe.say('listener', f.ack(1, 0))
      pipe.write('dialer', f.notify(2, 3000))
    },
  })
})

describe('time', () => {
  ruleAfter('wire-pong', 'a PONG repeats the latest PING', {
    begin: said('dialer', f.ping(1), f.ping(2)),
    kept: (pipe) => pipe.say('listener', f.pong(2)),
    broken: (pipe) => pipe.say('listener', f.pong(1)),
  })
  ruleAfter('wire-pong', 'there is one for each PING at most', {
    begin: said('dialer', f.ping(1)),
    kept: (pipe) => pipe.say('listener', f.pong(1)),
    broken: (pipe) => pipe.say('listener', f.pong(1), f.pong(1)),
  })
  ruleAfter('wire-pong-due', 'a PING is answered', {
    begin: said('dialer', f.ping(1)),
    kept: (pipe, s) => {
      s.pass(10)
      pipe.say('listener', f.pong(1))
      s.pass(100)
    },
    broken: (_, s) => s.pass(51),
  })
  ruleAfter('wire-ping-due', 'a PING goes out when nothing has come for keepaliveMs', {
    begin: (s) => {
      const pipe = s.link()
      s.pass(1000)
      pipe.write('dialer', f.ping(1))
      return pipe
    },
    kept: (pipe, s) => {
      pipe.write('listener', f.ping(2))
      s.pass(1000)
    },
    broken: (_, s) => s.pass(51),
  })
})

describe('the end', () => {
  rule('wire-after-close', 'nothing is asked behind CLOSE', {
    kept: (s) => {
      const pipe = s.link()
      pipe.say('listener', f.query(A, 1))
      pipe.write('dialer', f.notify(2), f.close(), f.answer(A, 1), f.ack(1))
    },
    broken: (s) => s.link().write('dialer', f.close(), f.notify(2)),
  })
  ruleAfter('wire-after-close', 'on a later link what was asked before is written again, then CLOSE, and nothing new', {
    begin: (s) => {
      const pipe = s.link()
      pipe.write('listener', f.notify(1), f.close())
      pipe.end()
      return s
    },
    kept: (s) => s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1)), f.ack(0), f.notify(1), f.close()),
    broken: (s) =>
      s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1)), f.ack(0), f.notify(1), f.notify(2)),
  })
  rule('wire-close-early', 'CLOSE comes behind all of what was asked', {
    kept: (s) => {
      const pipe = s.link()
      pipe.write('dialer', f.queryBegin(A, 1, 20, 10), f.queryBegin(B, 2, 20, 10))
      pipe.write('dialer', f.cancel(A), f.more(16, f.LAST, B, 10), f.close())
    },
    broken: (s) => s.link().write('dialer', f.queryBegin(A, 1, 20, 10), f.close()),
  })
  ruleAfter('wire-close-early', 'and on a later link behind the replay', {
    begin: (s) => {
      const pipe = s.link()
      pipe.write('listener', f.notify(1))
      pipe.end()
      return s
    },
    kept: (s) => s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1)), f.ack(0), f.notify(1), f.close()),
    broken: (s) => s.proven(s.again(0)).write('listener', f.welcome(true, f.id16(1)), f.ack(0), f.close()),
  })
  rule('wire-after-close', 'a link has one CLOSE of each side', {
    kept: (s) => {
      const pipe = s.link()
      pipe.say('dialer', f.close())
      pipe.say('listener', f.close())
    },
    broken: (s) => s.link().say('dialer', f.close(), f.close()),
  })
  rule('wire-end', 'who is done writes nothing more', {
    kept: (s) => {
      const pipe = s.link()
      pipe.say('listener', f.query(A, 1), f.close())
      pipe.say('dialer', f.ack(1), f.close())
      s.pass(60)
      pipe.say('dialer', f.answer(A, 1))
      pipe.say('listener', f.ack(1))
    },
    broken: (s) => {
      const pipe = s.link()
      pipe.say('listener', f.close())
      pipe.say('dialer', f.close())
      s.pass(60)
      pipe.say('dialer', f.ping(1))
    },
  })
  test('a link that finishes with its peer goes on beside that with another', () => {
    const scene = new Scene()
    const old = scene.link()
    old.say('dialer', f.query(A, 1), f.close())
    scene.link({ attempt: 1, fresh: f.id16(7) }, scene.c)
    old.say('listener', f.answer(A, 1), f.ack(1), f.close())
    old.say('dialer', f.ack(1))
    expect(scene.rules).toEqual([])
  })
})

describe('the vectors', () => {
  const read = (name: string): unknown =>
    JSON.parse(readFileSync(new URL(`../../../vectors/${name}.json`, import.meta.url), 'utf8'))
  const { limits } = (read('handshake') as { dialer: { limits: Limits } }).dialer
  const { good, bad } = read('frames') as Record<'good' | 'bad', readonly { what: string; bytes: string }[]>

  test.each(good)('nothing is found in $what', ({ bytes }) => {
    expect(rulesOf((s) => s.link().write('dialer', f.hex(bytes)), limits)).toEqual([])
  })
  test.each(bad)('something is found in $what', ({ bytes }) => {
    expect(rulesOf((s) => s.link().write('dialer', f.hex(bytes)), limits)).not.toEqual([])
  })
  test('nothing is found in the conversation', () => {
    const { turns } = read('session') as { turns: readonly { from: 'dialer' | 'listener'; bytes: string }[] }
    const scene = new Scene(limits)
    const pipe = scene.link()
    for (const { from, bytes } of turns) pipe.say(from, f.hex(bytes))
    scene.pass(500)
    expect(scene.faults).toEqual([])
    expect(scene.referee.frames).toBe(17)
  })
  test('something is found in each first message of a dialer that is broken, and nothing in one that is not', () => {
    const { messages, bad } = read('handshake') as {
      messages: { dialerHello: string }
      bad: readonly { what: string; dialer: string; outcome: string }[]
    }
    const found = (bytes: string): string[] => rulesOf((s) => s.pipe().write('dialer', f.hex(bytes)), limits)
    expect(found(messages.dialerHello)).toEqual([])
    // Whose instance it is shows when the listener has said its own.
    const shown = bad.filter(({ outcome }) => outcome !== 'refusing self')
    expect(shown.filter(({ dialer }) => found(dialer).length === 0)).toEqual([])
    expect(shown.length).toBe(bad.length - 1)
  })
})
