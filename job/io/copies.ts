import { Readable } from 'node:stream'
import { isBug, JobError, textOf } from '../errors.ts'
import type { Part } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { hasher } from './content.ts'
import { waitingBytes } from './lending.ts'
import { type Backup, checkPart, contentOf, readPart } from './parts.ts'
import { damaged } from './pipeline.ts'

/** A part in one of the storages that have it. */
export interface Copy {
  storage: Storage
  part: Part
}

/** The copies of one backup's parts, and which of them are known to be bad. */
export interface Shelf {
  /** What a part was made of, from the first storage that has it. Where one fails on the way, the next goes on. */
  read(copies: readonly Copy[]): Promise<Readable>
  /** Looks for one that is stored as the manifest says, and resolves to the bytes of what it was made of. */
  check(copies: readonly Copy[]): Promise<number>
  /** Does something with a whole copy, until it goes well with one of them. */
  use<T>(copies: readonly Copy[], work: (copy: Copy) => Promise<T>): Promise<T>
  /** A copy was found to be bad since the last call, and there is another one: what was read in vain can be read again. */
  helps(): boolean
  /** Those that are known to be bad come last: what is wrong with them must be said when there is no other. */
  inOrder(copies: readonly Copy[]): Copy[]
}

interface Options extends Backup {
  warn(message: string): void
  /** Is told what is read of a part, in bytes of what it was made of. What another copy has to give once more is told once more. */
  onBytes?(part: Part, bytes: number): void
}

export function openShelf({ warn, onBytes, ...backup }: Options): Shelf {
  const bad = new Set<string>()
  let helped = false
  const keyOf = ({ storage, part }: Copy) => `${storage.name} ${part.path}`
  const isBad = (copy: Copy) => bad.has(keyOf(copy))
  const inOrder = (copies: readonly Copy[]) => [...copies.filter((copy) => !isBad(copy)), ...copies.filter(isBad)]

  const from = ({ storage, part }: Copy) => ({ ...backup, storage, onBytes: (bytes: number) => onBytes?.(part, bytes) })

  /** Throws the error when no other copy is left. */
  function next(copy: Copy, rest: readonly Copy[], error: unknown): void {
    backup.signal.throwIfAborted()
    if (isBug(error)) throw error
    const known = isBad(copy)
    bad.add(keyOf(copy))
    const [other] = rest.filter((one) => !isBad(one))
    if (!other) throw error
    helped ||= !known
    if (!known) warn(`${textOf(error)}; storage ${other.storage.name} has ${copy.part.path} too: it is read there`)
  }

  async function use<T>(copies: readonly Copy[], work: (copy: Copy) => Promise<T>): Promise<T> {
    const all = inOrder(copies)
    for (const [i, copy] of all.entries()) {
      try {
        return await work(copy)
      } catch (error) {
        next(copy, all.slice(i + 1), error)
      }
    }
    throw new JobError('bug', 'a part is in no storage')
  }

  /** What was given already is passed over; that all of it is right shows at the end. */
  async function* goOn(begun: { copy: Copy; stream: Readable }, rest: Copy[]): AsyncGenerator<Buffer> {
    const whole = contentOf(begun.copy.part)
    const passed = hasher()
    let given = 0
    let { copy, stream } = begun
    for (;;) {
      try {
        for await (const chunk of after(stream, given)) {
          passed.add(chunk)
          given += chunk.length
          yield chunk
        }
        break
      } catch (error) {
        next(copy, rest, error)
        // too late for another copy, but not for whoever reads it again
        if (given >= whole.size) throw error
        ;({ copy, stream } = await open(rest))
        rest = rest.slice(rest.indexOf(copy) + 1)
      }
    }
    if (given === whole.size && passed.content().sha256 === whole.sha256) return
    throw new JobError('verification', `${copy.part.path} was read from several storages, and is not what was stored`, {
      hint: damaged,
    })
  }

  async function open(copies: readonly Copy[]): Promise<{ copy: Copy; stream: Readable }> {
    return use(copies, async (copy) => ({
      copy,
      stream: await readPart(copy.part, from(copy)),
    }))
  }

  return {
    read: async (copies) => {
      const all = inOrder(copies)
      const [only] = all
      if (only && all.length === 1) return readPart(only.part, from(only))
      const begun = await open(all)
      const rest = all.slice(all.indexOf(begun.copy) + 1)
      const stream = Readable.from(goOn(begun, rest), { objectMode: false, highWaterMark: waitingBytes })
      return stream.once('close', () => begun.stream.destroy())
    },
    check: (copies) => use(copies, (copy) => checkPart(copy.part, from(copy))),
    use,
    helps: () => {
      const did = helped
      helped = false
      return did
    },
    inOrder,
  }
}

async function* after(stream: Readable, bytes: number): AsyncGenerator<Buffer> {
  let passed = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const from = Math.min(chunk.length, bytes - passed)
    passed += from
    if (from < chunk.length) yield from === 0 ? chunk : chunk.subarray(from)
  }
}
