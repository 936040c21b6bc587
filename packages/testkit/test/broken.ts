/**
 * Transports that are wrong in one place each, and which case must find it. Each is the memory transport with one change, and
 * strikes as such faults do: in one situation, so that everything else goes on working.
 */
import { closeSync, openSync } from 'node:fs'
import type { Listener, Pipe, PipeSink, Transport } from '@pairlink/core'
import { memory, type MemoryPlace, type Place } from '../src/index.js'
import { placeOf } from './memory-place.js'

export interface BrokenTransport {
  /** What is wrong with it. */
  readonly fault: string
  /** The one case that must fail. */
  readonly fails: string
  /** Made anew for each case. */
  readonly make: () => () => Place
}

type Dialled = Awaited<ReturnType<Transport['dial']>>
type Listened = Awaited<ReturnType<Transport['listen']>>

interface Change {
  /** Both take what the sound transport does. */
  readonly dial?: (sound: () => Promise<Dialled>, signal: AbortSignal, transport: Transport) => Promise<Dialled>
  readonly listen?: (
    sound: (signal?: AbortSignal) => Promise<Listened>,
    signal: AbortSignal,
    transport: Transport,
  ) => Promise<Listened>
  readonly pipe?: (sound: Pipe, from: 'dial' | 'accept') => Pipe
  readonly listener?: (sound: Listener) => Listener
  readonly handles?: () => number
  readonly leftovers?: () => number
  readonly dispose?: () => void
}

/** Places whose transports are changed. `change` is asked once for each place. */
function changed(
  change: (memory: MemoryPlace, place: Place) => Change,
  options: Parameters<typeof memory>[0] = {},
): () => Place {
  return () => {
    const sound = memory(options)
    const place = placeOf(sound)
    const {
      dial,
      listen,
      pipe = (same) => same,
      listener = (same) => same,
      handles,
      leftovers,
      dispose,
    } = change(sound, place)
    return {
      ...place,
      handles: () => sound.handles + (handles?.() ?? 0),
      leftovers: () => sound.handles + (leftovers?.() ?? 0),
      dispose: () => dispose?.(),
      listener: () => {
        const of = place.listener()
        const soundDial = (signal: AbortSignal) => async (): Promise<Dialled> => {
          const dialled = await of.dial(signal)
          return typeof dialled === 'string' ? dialled : pipe(dialled, 'dial')
        }
        const transport: Transport = {
          ...of,
          dial: (signal) => dial?.(soundDial(signal), signal, transport) ?? soundDial(signal)(),
          listen: async (accept, signal, silent) => {
            const soundListen = (other = signal): Promise<Listened> =>
              of.listen(
                (accepted) => {
                  accept(pipe(accepted, 'accept'))
                },
                other,
                silent,
              )
            const listened = await (listen?.(soundListen, signal, transport) ?? soundListen())
            return typeof listened === 'object' && 'close' in listened ? listener(listened) : listened
          },
        }
        return transport
      },
    }
  }
}

/** The pipe with some of its members replaced. */
function altered(pipe: Pipe, members: Partial<Pipe>): Pipe {
  const of: Pipe = {
    start: (sink) => {
      pipe.start(sink)
    },
    write: (chunks) => pipe.write(chunks),
    end: () => {
      pipe.end()
    },
    destroy: () => {
      pipe.destroy()
    },
    ref: () => {
      pipe.ref()
    },
    unref: () => {
      pipe.unref()
    },
    ...members,
  }
  return pipe.holder === undefined ? of : { holder: pipe.holder, ...of }
}

/** The sink with some of its members replaced. */
function tapped(sink: PipeSink, members: Partial<PipeSink>): PipeSink {
  return {
    bytes: (chunk, transient) => {
      sink.bytes(chunk, transient)
    },
    drained: () => {
      sink.drained()
    },
    ended: () => {
      sink.ended()
    },
    closed: (error) => {
      sink.closed(error)
    },
    ...members,
  }
}

const onPipes = (pipe: NonNullable<Change['pipe']>): (() => Place) => changed(() => ({ pipe }))
const lengthOf = (chunks: readonly Uint8Array[]): number => chunks.reduce((sum, { length }) => sum + length, 0)
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const turns = async (count: number): Promise<void> => {
  for (let done = 0; done < count; done++) await turn()
}

export const BROKEN: readonly BrokenTransport[] = [
  {
    fault: 'calls itself encrypted',
    fails: 'says-what-it-is',
    make: () => () => {
      const place = placeOf(memory())
      return { ...place, listener: () => ({ ...place.listener(), encrypted: true }) }
    },
  },
  {
    fault: "says 'again' where nobody has ever listened",
    fails: 'dial-with-nobody-there',
    make: () =>
      changed(() => {
        const dials = new Map<Transport, number>()
        return {
          dial: async (sound, _signal, transport) => {
            const count = dials.get(transport) ?? 0
            dials.set(transport, count + 1)
            const dialled = await sound()
            // The fault is over once anybody has listened.
            const isFresh = count === 0 && !hasListened.has(transport.address) && transport.refusedBy?.() === undefined
            return dialled === 'absent' && isFresh ? 'again' : dialled
          },
          listen: (sound, _signal, transport) => {
            hasListened.add(transport.address)
            return sound()
          },
        }
      }),
  },
  {
    fault: "says 'absent' to the first who dials a new listener",
    fails: 'dial-finds-the-listener',
    make: () =>
      changed(() => {
        let isNew = false
        return {
          listener: (listener) => {
            isNew = true
            return listener
          },
          dial: async (sound) => {
            if (!isNew) return sound()
            isNew = false
            return 'absent'
          },
        }
      }),
  },
  {
    fault: "says 'absent' to the eleventh who dials in one turn",
    fails: 'nobody-is-absent-in-a-crowd',
    make: () =>
      changed(() => {
        let dials = 0
        return {
          dial: async (sound) => {
            if (++dials > 10) return 'absent'
            void turn().then(() => dials--)
            return sound()
          },
        }
      }),
  },
  {
    fault: 'accepts before it has said that it listens',
    fails: 'accept-behind-listen',
    make: () =>
      changed(() => ({
        listen: async (sound) => {
          const listened = await sound()
          await turns(5)
          return listened
        },
      })),
  },
  {
    fault: 'lets a second one listen that has not dialled',
    fails: 'listen-on-a-taken-address',
    make: () =>
      changed((place) => {
        const dialled = new Set<Transport>()
        return {
          dial: (sound, _signal, transport) => {
            dialled.add(transport)
            return sound()
          },
          listen: (sound, _signal, transport) => {
            if (!dialled.has(transport)) place.removeAddress()
            return sound()
          },
        }
      }),
  },
  {
    fault: 'looks whether anybody listens, and listens a moment later: both do, once in five times',
    fails: 'simultaneous-start',
    make: () => {
      let races = 0
      return changed((place) => {
        let listening = 0
        return {
          listen: async (sound) => {
            if (++listening !== 2 || ++races % 5 !== 0) return sound()
            await turns(3)
            place.removeAddress()
            return sound()
          },
        }
      })
    },
  },
  {
    fault: 'closes again and again, and each time promises anew',
    fails: 'close-frees-the-address',
    make: () =>
      changed(() => ({
        listener: (listener) => ({ ...listener, close: () => listener.close().then(() => undefined) }),
      })),
  },
  {
    fault: 'closes accepted pipes together with the listener, if nothing was written to them',
    fails: 'close-lets-pipes-live',
    make: () =>
      changed(() => {
        const silent = new Set<Pipe>()
        return {
          pipe: (pipe, from) => {
            if (from === 'accept') silent.add(pipe)
            return altered(pipe, {
              write: (chunks) => {
                silent.delete(pipe)
                return pipe.write(chunks)
              },
            })
          },
          listener: (listener) => ({
            ...listener,
            close: () => {
              for (const pipe of silent) pipe.destroy()
              return listener.close()
            },
          }),
        }
      }),
  },
  {
    fault: 'never settles a dial to a listener when its signal fires',
    fails: 'abort-dial',
    make: () =>
      changed((place) => ({
        dial: (sound, signal) => {
          if (signal.aborted || place.handles !== 1) return sound()
          return new Promise((resolve, reject) => {
            sound().then(resolve, (error: unknown) => {
              if (!signal.aborted) reject(error)
            })
          })
        },
      })),
  },
  {
    fault: 'keeps an address that it took while the signal of the first listen fired',
    fails: 'abort-listen',
    make: () =>
      changed((_place, { listener }) => {
        let listens = 0
        return {
          listen: async (sound, signal) => {
            if (signal.aborted || ++listens > 1) return sound()
            const transport = listener()
            await Promise.resolve()
            await Promise.resolve()
            if (signal.aborted) await transport.listen((pipe) => void pipe.destroy(), new AbortController().signal)
            return sound()
          },
        }
      }),
  },
  {
    fault: 'destroys a pipe when the signal of its dial fires, however late',
    fails: 'abort-behind-the-promise',
    make: () =>
      changed(() => ({
        dial: async (sound, signal) => {
          const dialled = await sound()
          if (typeof dialled !== 'string') {
            signal.addEventListener('abort', () => {
              dialled.destroy()
            })
          }
          return dialled
        },
      })),
  },
  {
    fault: "says 'again' to the first who dials a stale address",
    fails: 'stale-address',
    make: () =>
      changed(() => {
        let isFirst = true
        return {
          dial: async (sound, _signal, transport) => {
            const dialled = await sound()
            if (dialled !== 'absent' || transport.refusedBy?.() === undefined || !isFirst) return dialled
            isFirst = false
            return 'again'
          },
        }
      }),
  },
  {
    fault: 'removes what a killed one has left a moment after it has looked',
    fails: 'stale-address-at-once',
    make: () =>
      changed((place) => {
        let removals = 0
        return {
          listen: async (sound, _signal, transport) => {
            if (transport.refusedBy?.() === undefined) return sound()
            await turns(3 * removals++)
            place.removeAddress()
            return sound()
          },
        }
      }),
  },
  {
    fault: 'removes the address when it closes, whoever holds it by then',
    fails: 'address-lost',
    make: () =>
      changed((place) => ({
        listener: (listener) => ({
          ...listener,
          close: () => {
            place.removeAddress()
            return listener.close()
          },
        }),
      })),
  },
  {
    fault: 'tells one holder from the other by the address alone',
    fails: 'holder-changes',
    make: () => onPipes((pipe, from) => (from === 'dial' ? { ...altered(pipe, {}), holder: 'it' } : pipe)),
  },
  {
    fault: 'leaves a handle for each dial that was aborted',
    fails: 'no-handle-left',
    make: () =>
      changed(() => {
        let left = 0
        return {
          handles: () => left,
          dial: async (sound) => {
            left++
            const dialled = await sound()
            left--
            return dialled
          },
        }
      }),
  },
  {
    fault: 'opens a file for each pipe that it accepts, and never closes it',
    fails: 'no-descriptor-left',
    make: () =>
      changed(() => {
        const files: number[] = []
        return {
          pipe: (pipe, from) => {
            if (from === 'accept') files.push(openSync('/dev/null', 'r'))
            return pipe
          },
          dispose: () => {
            for (const file of files) closeSync(file)
          },
        }
      }),
  },
  {
    fault: 'leaves a file of each pipe that was destroyed',
    fails: 'no-file-left',
    make: () =>
      changed(() => {
        let left = 0
        return {
          leftovers: () => left,
          pipe: (pipe) =>
            altered(pipe, {
              destroy: () => {
                left++
                pipe.destroy()
              },
            }),
        }
      }),
  },
  {
    fault: 'leaves a handle for a pipe that ended behind another one',
    fails: 'connection-leaves-no-handle',
    make: () =>
      changed(() => {
        let [left, dials] = [0, 0]
        return {
          handles: () => left,
          pipe: (pipe, from) => {
            if (from === 'dial') dials++
            return altered(pipe, {
              end: () => {
                if (dials === 2) left++
                pipe.end()
              },
            })
          },
        }
      }),
  },
  {
    fault: 'forgets a promise that rejects when a signal fires',
    fails: 'no-unhandled-rejection',
    make: () =>
      changed(() => ({
        dial: (sound, signal) => {
          if (!signal.aborted) {
            signal.addEventListener('abort', () => void Promise.reject(new Error('aborted, and nobody looks')))
          }
          return sound()
        },
      })),
  },
  {
    fault: 'takes an empty chunk for the end',
    fails: 'bytes-of-all-sizes',
    make: () =>
      onPipes((pipe) =>
        altered(pipe, {
          write: (chunks) => {
            const isRoom = pipe.write(chunks)
            if (chunks.some(({ length }) => length === 0)) pipe.end()
            return isRoom
          },
        }),
      ),
  },
  {
    fault: 'does not hear a destroy that is called from inside bytes',
    fails: 'may-be-called-from-inside',
    make: () =>
      onPipes((pipe) => {
        let isInside = false
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                bytes: (chunk, transient) => {
                  isInside = true
                  sink.bytes(chunk, transient)
                  isInside = false
                },
              }),
            )
          },
          destroy: () => {
            if (!isInside) pipe.destroy()
          },
        })
      }),
  },
  {
    fault: 'is gone when it had nothing to carry for a second',
    fails: 'lives-through-a-pause',
    make: () =>
      onPipes((pipe) => {
        let lastAt = performance.now()
        return altered(pipe, {
          write: (chunks) => {
            if (performance.now() - lastAt > 1000) pipe.destroy()
            lastAt = performance.now()
            return pipe.write(chunks)
          },
        })
      }),
  },
  {
    fault: 'listens once in its life',
    fails: 'close-frees-the-address',
    make: () =>
      changed(() => {
        const listened = new WeakSet<Transport>()
        return {
          listen: (sound, _signal, transport) => {
            if (listened.has(transport)) return Promise.resolve('taken')
            listened.add(transport)
            return sound()
          },
        }
      }),
  },
  {
    fault: 'sends no more than 1,024 chunks with one write',
    fails: 'bytes-of-all-sizes',
    make: () => onPipes((pipe) => altered(pipe, { write: (chunks) => pipe.write(chunks.slice(0, 1024)) })),
  },
  {
    fault: 'calls drained although there was room',
    fails: 'drained-behind-enough',
    make: () =>
      onPipes((pipe) => {
        let sinkOf: PipeSink | undefined
        return altered(pipe, {
          start: (sink) => {
            sinkOf = sink
            pipe.start(sink)
          },
          write: (chunks) => {
            const isRoom = pipe.write(chunks)
            if (isRoom && lengthOf(chunks) === 1) void turn().then(() => sinkOf?.drained())
            return isRoom
          },
        })
      }),
  },
  {
    fault: 'swaps two small writes once there were sixteen in one turn',
    fails: 'order',
    make: () =>
      onPipes((pipe) => {
        let writes = 0
        let held: Uint8Array[] | undefined
        return altered(pipe, {
          write: (chunks) => {
            if (lengthOf(chunks) > 2000) return pipe.write(chunks)
            if (writes++ === 0) void turn().then(() => (writes = 0))
            if (writes === 17) {
              held = chunks.map((chunk) => chunk.slice())
              return true
            }
            const isRoom = pipe.write(chunks)
            if (held !== undefined) pipe.write(held)
            held = undefined
            return isRoom
          },
        })
      }),
  },
  {
    fault: 'loses what is written at once beyond 64 KiB',
    fails: 'first-words',
    make: () =>
      onPipes((pipe) => {
        let left = Infinity
        return altered(pipe, {
          start: (sink) => {
            left = 65_536
            pipe.start(sink)
            void Promise.resolve()
              .then(() => undefined)
              .then(() => (left = Infinity))
          },
          write: (chunks) =>
            pipe.write(
              chunks.map((chunk) => {
                const taken = chunk.subarray(0, Math.min(left, chunk.length))
                left -= taken.length
                return taken
              }),
            ),
        })
      }),
  },
  {
    fault: 'has a counter that overflows after 32 MiB',
    fails: 'large-both-ways',
    make: () =>
      onPipes((pipe) => {
        let bytes = 0
        return altered(pipe, {
          write: (chunks) => {
            const before = bytes
            bytes += lengthOf(chunks)
            const isOver = before < 2 ** 25 && bytes >= 2 ** 25
            return pipe.write(isOver ? chunks.map((chunk) => chunk.subarray(1)) : chunks)
          },
        })
      }),
  },
  {
    fault: 'sees only in the next turn that it was enough',
    fails: 'says-enough',
    make: () =>
      onPipes((pipe) => {
        let takenBytes = 0
        let isFull = false
        return altered(pipe, {
          write: (chunks) => {
            if (takenBytes === 0) {
              isFull = false
              void turn().then(() => (takenBytes = 0))
            }
            takenBytes += lengthOf(chunks)
            const wasFull = isFull
            isFull = !pipe.write(chunks)
            return !wasFull || takenBytes < 20_000_000
          },
        })
      }),
  },
  {
    fault: 'forgets drained when it was written to although it was enough',
    fails: 'drained-behind-enough',
    make: () =>
      onPipes((pipe) => {
        let isFull = false
        let isLost = false
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                drained: () => {
                  const wasLost = isLost
                  isFull = isLost = false
                  if (!wasLost) sink.drained()
                },
              }),
            )
          },
          write: (chunks) => {
            isLost = isFull
            isFull = !pipe.write(chunks)
            return !isFull
          },
        })
      }),
  },
  {
    fault: 'says drained in the next turn, however much has left by then',
    fails: 'drained-behind-enough',
    make: () =>
      onPipes((pipe) => {
        const queue: Uint8Array[] = []
        let sinkOf: PipeSink | undefined
        let isFlushing = false
        let isEnding = false
        const flush = (): void => {
          const taken: Uint8Array[] = []
          while (queue.length > 0 && lengthOf(taken) < 262_144) taken.push(...queue.splice(0, 1))
          pipe.write(taken)
          isFlushing = queue.length > 0
          if (isFlushing) setImmediate(flush)
          else if (isEnding) pipe.end()
        }
        return altered(pipe, {
          start: (sink) => {
            sinkOf = sink
            pipe.start(tapped(sink, { drained: () => undefined }))
          },
          write: (chunks) => {
            if (isEnding) return true
            // In pieces, and copied: what was drained is the writer's.
            for (const chunk of chunks) {
              for (let at = 0; at < chunk.length; at += 65_536)
                queue.push(new Uint8Array(chunk.subarray(at, at + 65_536)))
            }
            if (!isFlushing && queue.length > 0) setImmediate(flush)
            isFlushing = queue.length > 0
            if (lengthOf(queue) < 65_536) return true
            setImmediate(() => sinkOf?.drained())
            return false
          },
          end: () => {
            isEnding = true
            if (!isFlushing) pipe.end()
          },
          destroy: () => {
            isEnding = true
            queue.length = 0
            pipe.destroy()
          },
        })
      }),
  },
  {
    fault: 'says drained while it still holds what was written',
    fails: 'chunks-are-free-once-drained',
    make: () =>
      onPipes((pipe) => {
        const queue: Uint8Array[] = []
        let sinkOf: PipeSink | undefined
        let isEnding = false
        const flush = (): void => {
          const taken = queue.splice(0)
          if (lengthOf(taken) >= 65_536) sinkOf?.drained()
          pipe.write(taken)
          if (isEnding && queue.length === 0) pipe.end()
        }
        return altered(pipe, {
          start: (sink) => {
            sinkOf = sink
            pipe.start(tapped(sink, { drained: () => undefined }))
          },
          write: (chunks) => {
            if (isEnding) return true
            if (queue.length === 0) setImmediate(flush)
            queue.push(...chunks)
            return lengthOf(queue) < 65_536
          },
          end: () => {
            isEnding = true
            if (queue.length === 0) pipe.end()
          },
        })
      }),
  },
  {
    fault: 'changes large chunks where they are',
    fails: 'written-chunks-stay',
    make: () =>
      onPipes((pipe) =>
        altered(pipe, {
          write: (chunks) => {
            const isRoom = pipe.write(chunks)
            for (const chunk of chunks) if (chunk.length > 262_144) chunk[1000] = ~(chunk[1000] ?? 0)
            return isRoom
          },
        }),
      ),
  },
  {
    fault: 'takes back a Buffer that it had given away, when the pipe closes',
    fails: 'received-chunks-are-owned',
    make: () =>
      changed(
        () => ({
          pipe: (pipe) => {
            const given: Uint8Array[] = []
            return altered(pipe, {
              start: (sink) => {
                pipe.start(
                  tapped(sink, {
                    bytes: ({ buffer, byteOffset, length }, transient) => {
                      const chunk = Buffer.from(buffer, byteOffset, length)
                      given.push(chunk)
                      if (given.length > 8) given.shift()
                      sink.bytes(chunk, transient)
                    },
                    closed: (error) => {
                      sink.closed(error)
                      for (const chunk of given) chunk.fill(0)
                    },
                  }),
                )
              },
            })
          },
        }),
        { transient: false },
      ),
  },
  {
    fault: 'tells closed from inside destroy',
    fails: 'never-from-inside',
    make: () =>
      onPipes((pipe) => {
        let sinkOf: PipeSink | undefined
        let isClosed = false
        const closed = (error?: Error): void => {
          if (isClosed || sinkOf === undefined) return
          isClosed = true
          sinkOf.closed(error)
        }
        return altered(pipe, {
          start: (sink) => {
            sinkOf = sink
            pipe.start(tapped(sink, { closed }))
          },
          destroy: () => {
            pipe.destroy()
            closed()
          },
        })
      }),
  },
  {
    fault: 'drops a chunk when the receiver was slow three times',
    fails: 'slow-reader',
    make: () =>
      onPipes((pipe) => {
        let slow = 0
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                bytes: (chunk, transient) => {
                  if (slow === 3) {
                    slow = 0
                    return
                  }
                  const before = performance.now()
                  sink.bytes(chunk, transient)
                  slow = performance.now() - before > 9.5 ? slow + 1 : 0
                },
              }),
            )
          },
        })
      }),
  },
  {
    fault: 'mixes up the fourth pipe with the third',
    fails: 'pipes-do-not-mix',
    make: () =>
      changed((place) => {
        const dialled: Pipe[] = []
        return {
          pipe: (pipe, from) => {
            if (from === 'accept') return pipe
            dialled.push(pipe)
            const [, , third, fourth] = dialled
            const isMixed = (): boolean => pipe === fourth && place.pipes >= 4
            return altered(pipe, { write: (chunks) => (isMixed() ? (third ?? pipe) : pipe).write(chunks) })
          },
        }
      }),
  },
  {
    fault: 'loses the last chunk of a megabyte when the end is said in the same turn',
    fails: 'end-delivers-all',
    make: () =>
      onPipes((pipe) => {
        let bytes = 0
        let last: Uint8Array[] | undefined
        const flush = (): void => {
          if (last !== undefined) pipe.write(last)
          last = undefined
        }
        return altered(pipe, {
          write: (chunks) => {
            bytes += lengthOf(chunks)
            flush()
            if (bytes < 1_000_000 || lengthOf(chunks) > 10) return pipe.write(chunks)
            last = [...chunks]
            setImmediate(flush)
            return true
          },
          end: () => {
            last = undefined
            pipe.end()
          },
        })
      }),
  },
  {
    fault: 'ends both directions when nothing comes for a while behind its own end',
    fails: 'half-close',
    make: () =>
      onPipes((pipe) => {
        let timer: NodeJS.Timeout | undefined
        let chunks = 0
        // Where the whole process stood still, nothing came either: so it looks again, two turns later.
        const late = (): void => {
          const before = chunks
          setImmediate(() =>
            setImmediate(() => {
              if (chunks === before) pipe.destroy()
            }),
          )
        }
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                bytes: (chunk, transient) => {
                  timer?.refresh()
                  chunks++
                  sink.bytes(chunk, transient)
                },
              }),
            )
          },
          end: () => {
            pipe.end()
            timer ??= setTimeout(late, 20)
          },
        })
      }),
  },
  {
    fault: 'takes the ends of both sides for an error when they cross',
    fails: 'end-of-both-at-once',
    make: () =>
      onPipes((pipe) => {
        let endedAt = -Infinity
        let isCrossed = false
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                ended: () => {
                  isCrossed = turnsPassed - endedAt <= 1
                  sink.ended()
                },
                closed: (error) => {
                  sink.closed(isCrossed ? new Error('crossed') : error)
                },
              }),
            )
          },
          end: () => {
            endedAt = turnsPassed
            countTurns()
            pipe.end()
          },
        })
      }),
  },
  {
    fault: 'breaks when more than a megabyte comes behind its own end',
    fails: 'end-while-flooded',
    make: () =>
      onPipes((pipe) => {
        let left = Infinity
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                bytes: (chunk, transient) => {
                  left -= chunk.length
                  if (left > 0) sink.bytes(chunk, transient)
                  else pipe.destroy()
                },
              }),
            )
          },
          end: () => {
            left = 2 ** 20
            pipe.end()
          },
        })
      }),
  },
  {
    fault: 'tells nobody of a destroy when nothing is under way and the other side has never written',
    fails: 'destroy-is-noticed',
    make: () =>
      onPipes((pipe) => {
        let hasRead = false
        let writtenIn = -1
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                bytes: (chunk, transient) => {
                  hasRead = true
                  sink.bytes(chunk, transient)
                },
                closed: (error) => {
                  sink.closed(error)
                },
              }),
            )
          },
          write: (chunks) => {
            countTurns()
            writtenIn = turnsPassed
            return pipe.write(chunks)
          },
          destroy: () => {
            const isSilent = !hasRead && writtenIn >= 0 && turnsPassed > writtenIn
            if (isSilent && 'die' in pipe) (pipe as { die(): void }).die()
            pipe.destroy()
          },
        })
      }),
  },
  {
    fault: 'writes a last byte of its own when much is under way at a destroy',
    fails: 'destroy-while-writing',
    make: () =>
      onPipes((pipe) => {
        let bytes = 0
        return altered(pipe, {
          write: (chunks) => {
            bytes += lengthOf(chunks)
            countTurns()
            return pipe.write(chunks)
          },
          destroy: () => {
            if (bytes > 6_000_000 && bytes < 7_000_000) pipe.write([new Uint8Array(1)])
            pipe.destroy()
          },
        })
      }),
  },
  {
    fault: 'tells closed twice when it has read anything',
    fails: 'closed-once-and-last',
    make: () =>
      onPipes((pipe) =>
        altered(pipe, {
          start: (sink) => {
            let hasRead = false
            pipe.start(
              tapped(sink, {
                bytes: (chunk, transient) => {
                  hasRead = true
                  sink.bytes(chunk, transient)
                },
                closed: (error) => {
                  sink.closed(error)
                  if (hasRead) setTimeout(() => sink.closed(error), 10)
                },
              }),
            )
          },
        }),
      ),
  },
  {
    fault: 'throws when a closed pipe is ref-ed',
    fails: 'close-twice',
    make: () =>
      onPipes((pipe) => {
        let isClosed = false
        return altered(pipe, {
          start: (sink) => {
            pipe.start(
              tapped(sink, {
                closed: (error) => {
                  isClosed = true
                  sink.closed(error)
                },
              }),
            )
          },
          ref: () => {
            if (isClosed) throw new Error('it is closed')
          },
        })
      }),
  },
  {
    fault: 'tells closed twice when it was destroyed before its start',
    fails: 'destroy-before-start',
    make: () =>
      onPipes((pipe) => {
        let isStarted = false
        let isEarly = false
        return altered(pipe, {
          start: (sink) => {
            isStarted = true
            pipe.start(sink)
            if (isEarly) setImmediate(() => setImmediate(() => sink.closed()))
          },
          destroy: () => {
            isEarly ||= !isStarted
            pipe.destroy()
          },
        })
      }),
  },
  {
    fault: 'still takes what is written in the turn of its end',
    fails: 'write-behind-the-end',
    make: () =>
      onPipes((pipe) =>
        altered(pipe, {
          end: () => {
            setImmediate(() => {
              pipe.end()
            })
          },
        }),
      ),
  },
  {
    fault: 'throws from write when the other end has gone',
    fails: 'write-to-one-who-has-gone',
    make: () =>
      changed(() => {
        const dialled: { hasGone: boolean }[] = []
        return {
          pipe: (pipe, from) => {
            // Pipes are accepted in the order in which they were dialled.
            const both = (from === 'dial' ? undefined : dialled.shift()) ?? { hasGone: false }
            if (from === 'dial') dialled.push(both)
            return altered(pipe, {
              write: (chunks) => {
                if (both.hasGone && lengthOf(chunks) === 65_536) throw new Error('EPIPE')
                return pipe.write(chunks)
              },
              destroy: () => {
                both.hasGone = true
                pipe.destroy()
              },
            })
          },
        }
      }),
  },
]

/** Places at which somebody has listened. */
const hasListened = new Set<string>()

// A count of turns that runs only while somebody looks.
let turnsPassed = 0
let isCounting = false
function countTurns(): void {
  if (isCounting) return
  isCounting = true
  setImmediate(() => {
    isCounting = false
    turnsPassed++
  })
}
