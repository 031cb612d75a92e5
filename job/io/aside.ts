import { MessageChannel, type MessagePort, type Transferable, Worker } from 'node:worker_threads'
import { JobError } from '../errors.ts'

/** Bytes of a stream that nothing is done to but to hash or to seal it. What is compressed has threads enough. */
export const worthAThread = 4 * 1024 * 1024

/** Blocks of a stream that are under way. */
export const blocksAtOnce = 3

/** A thread beside the main one, for what would keep that from its streams. */
export interface Aside<Opening, Question, Answer> {
  /** For one stream; the thread gets what it opens with, and a port. */
  open(opening: Opening): Asked<Question, Answer>
}

interface Asked<Question, Answer> {
  /** The memory of what is moved is the thread's until it answers. */
  ask(question: Question, moved: Transferable[]): Promise<Answer>
  close(): void
}

/**
 * One thread for all streams: it keeps up with several disks. It begins with the first, which takes a few milliseconds, and ends with the
 * process, or when it fails, and with it those who wait for it. `does`: for errors.
 */
export function aside<Opening extends object, Question, Answer>(
  file: URL,
  does: string,
): Aside<Opening, Question, Answer> {
  let thread: Worker | undefined
  /** Why the last one ended. */
  let ending: unknown

  function threadOf(): Worker {
    if (thread) return thread
    const worker = new Worker(file)
    const ended = (cause: unknown) => {
      if (thread !== worker) return
      thread = undefined
      ending = cause
    }
    worker.once('error', ended).once('exit', ended).unref()
    thread = worker
    return worker
  }

  /** Answers come in the order of the questions. */
  function asker(port: MessagePort): Asked<Question, Answer>['ask'] {
    const waiting: { resolve(answer: Answer): void; reject(error: unknown): void }[] = []
    const ended = new AbortController()
    port.on('message', (answer: Answer) => waiting.shift()?.resolve(answer))
    const end = (cause: unknown) => {
      ended.abort(new JobError('bug', `the thread that ${does} ended`, { cause }))
      for (const { reject } of waiting.splice(0)) reject(ended.signal.reason)
    }
    port.once('messageerror', end)
    // the thread says a moment later why
    port.once('close', () => setImmediate(() => end(ending)))
    return async (question, moved) => {
      ended.signal.throwIfAborted()
      const { promise, ...answer } = Promise.withResolvers<Answer>()
      waiting.push(answer)
      port.postMessage(question, moved)
      return promise
    }
  }

  return {
    open: (opening) => {
      const { port1: ours, port2: theirs } = new MessageChannel()
      threadOf().postMessage({ ...opening, port: theirs }, [theirs])
      return { ask: asker(ours), close: () => ours.close() }
    },
  }
}

/** The answers in the order of the questions, `atOnce` of which are under way. Who takes an answer may use its memory until the next. */
export async function* answersTo<Question, Answer>(
  questions: AsyncIterable<Question>,
  ask: (question: Question) => Promise<Answer>,
  atOnce: number,
): AsyncGenerator<Answer> {
  const asked: Promise<Answer>[] = []
  for await (const question of questions) {
    const answer = ask(question)
    // it is awaited in its turn
    answer.catch(() => {})
    asked.push(answer)
    if (asked.length === atOnce) yield (await asked.shift()) as Answer
  }
  for (const answer of asked) yield await answer
}
