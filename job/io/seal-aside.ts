import type { KeyObject } from 'node:crypto'
import type { Readable } from 'node:stream'
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { JobError } from '../errors.ts'
import type { Lender } from '../storage.ts'
import { blockSize, sealedBlockSize } from './chunks.ts'
import { lending } from './lending.ts'
import type { Content } from './outgoing.ts'
import { beginFile, blocksOf, type FileKey } from './seal.ts'
import type { Block, Opened, Sealed } from './seal-thread.ts'

export interface Aside {
  stream: Lender
  /** Call after the end: what went in, and what came out. */
  result(): { plain: Content; stored: Content }
}

/** Blocks of a stream that are under way. */
const blocksAtOnce = 3

/**
 * As `seal`, on a thread of its own, which hashes too: a stream that nothing else is done to would spend most of its time here. It takes a
 * few milliseconds to begin.
 */
export function sealAside(source: Readable, fileKey: FileKey): Aside {
  const { head, key } = beginFile(fileKey)
  const sizes = { plain: 0, stored: head.length }
  let hashes: Sealed['hashes']
  async function* sealed(): AsyncGenerator<Buffer> {
    const sealing = open(key, head)
    const spare = Array.from({ length: blocksAtOnce }, () => new ArrayBuffer(blockSize))
    const loans = Array.from({ length: blocksAtOnce }, () => new ArrayBuffer(sealedBlockSize))
    const atWork: Promise<Sealed>[] = []
    async function* done(): AsyncGenerator<Buffer> {
      const { plain, sealed, size, stored, ...last } = (await atWork.shift()) as Sealed
      sizes.plain += size
      sizes.stored += stored
      hashes = last.hashes
      yield Buffer.from(sealed, 0, stored)
      spare.push(plain)
      loans.push(sealed)
    }
    try {
      yield head
      const take = () => Buffer.from(spare.pop() as ArrayBuffer)
      for await (const { block, ends } of blocksOf(source, take)) {
        const work = sealing.seal({
          plain: block.buffer as ArrayBuffer,
          sealed: loans.pop() as ArrayBuffer,
          size: block.length,
          ends,
        })
        // it is awaited in its turn
        work.catch(() => {})
        atWork.push(work)
        if (atWork.length === blocksAtOnce) yield* done()
      }
      while (atWork.length > 0) yield* done()
    } finally {
      sealing.close()
    }
  }
  return {
    stream: lending(sealed(), source),
    result: () => {
      if (!hashes) throw new JobError('bug', 'a stream was sealed and not read to its end')
      return {
        plain: { size: sizes.plain, sha256: hashes.plain },
        stored: { size: sizes.stored, sha256: hashes.stored },
      }
    },
  }
}

let thread: Worker | undefined
/** Why the last one ended. */
let ending: unknown

/** One for all streams: it keeps up with several disks. It ends with the process, or when it fails, and with it those who wait for it. */
function threadOf(): Worker {
  if (thread) return thread
  const worker = new Worker(new URL('./seal-thread.ts', import.meta.url))
  const ended = (cause: unknown) => {
    if (thread !== worker) return
    thread = undefined
    ending = cause
  }
  worker.once('error', ended).once('exit', ended).unref()
  thread = worker
  return worker
}

function open(key: KeyObject, head: Buffer) {
  const { port1: ours, port2: theirs } = new MessageChannel()
  threadOf().postMessage({ port: theirs, key, head: new Uint8Array(head) } satisfies Opened, [theirs])
  return { seal: asker(ours), close: () => ours.close() }
}

/** Answers come in the order of the questions. */
function asker(port: MessagePort): (block: Block) => Promise<Sealed> {
  const waiting: { resolve(sealed: Sealed): void; reject(error: unknown): void }[] = []
  const ended = new AbortController()
  port.on('message', (sealed: Sealed) => waiting.shift()?.resolve(sealed))
  const end = (cause: unknown) => {
    ended.abort(new JobError('bug', 'the thread that encrypts ended', { cause }))
    for (const { reject } of waiting.splice(0)) reject(ended.signal.reason)
  }
  port.once('messageerror', end)
  // the thread says a moment later why
  port.once('close', () => setImmediate(() => end(ending)))
  return async (block) => {
    ended.signal.throwIfAborted()
    const { promise, ...answer } = Promise.withResolvers<Sealed>()
    waiting.push(answer)
    port.postMessage(block, [block.plain, block.sealed])
    return promise
  }
}
