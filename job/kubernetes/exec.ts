import { PassThrough, type Readable, Writable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { Exec, type V1Status } from '@kubernetes/client-node'
import type { Command } from '../engine.ts'
import { JobError } from '../errors.ts'
import { lastLines } from '../io/process.ts'
import type { Cluster } from './client.ts'
import { opened } from './opened.ts'
import { refused } from './refused.ts'

/** A command in a container of a pod. */
export interface Inside {
  cluster: Cluster
  pod: string
  container: string
  command: string[]
  signal: AbortSignal
}

export interface Said {
  stdout: Buffer
  stderr: string
  exitCode: number
}

/** A command that says nothing for so long hangs. */
const silenceMs = 60_000
/** Bytes that wait in the connection before more is read for it. */
const waitingBytes = 4 * 1024 * 1024

/** Runs a command in a container to its end. A connection that breaks before the exit status came is a retryable error. */
export async function execute(inside: Inside): Promise<Said> {
  const chunks: Buffer[] = []
  let stderr = ''
  const line = await open(inside, {
    stdout: (chunk) => void chunks.push(chunk),
    stderr: (chunk) => {
      stderr = (stderr + chunk.toString('utf8')).slice(-4096)
    },
  })
  const watch = setInterval(() => {
    if (Date.now() - line.heard() > silenceMs) line.hangUp()
  }, 5000)
  try {
    return { exitCode: await line.ended, stdout: Buffer.concat(chunks), stderr }
  } finally {
    clearInterval(watch)
  }
}

/** As `output` of io/process. A stream cannot be taken up again: a connection that breaks errors it. */
export function execOutput(place: Promise<Inside>, command: Command): Readable {
  let line: Line | undefined
  const stream = new PassThrough({
    highWaterMark: 1024 * 1024,
    flush(done) {
      complete().then(() => done(), done)
    },
    destroy(error, done) {
      line?.hangUp()
      done(error)
    },
  })
  const errors = lines(command)
  let end: Promise<void> | undefined
  const complete = () => end as Promise<void>
  const begin = async () => {
    const inside = await place
    line = await open(inside, {
      // the client of Kubernetes knows no backpressure: what is not wanted yet stays in the socket
      stdout: (chunk) => {
        if (!stream.destroyed && !stream.write(chunk)) line?.hold(stream)
      },
      stderr: errors.take,
    })
    if (stream.destroyed) line.hangUp()
    const { ended } = line
    end = ended.then((code) => judge({ inside, command, code, said: errors.end() }))
    await ended
    if (!stream.destroyed) stream.end()
  }
  begin().catch((error) => stream.destroy(error))
  return stream
}

/** As `consume` of io/process: input that fails breaks the connection, so that the program does not see a good end. */
export async function execConsume(inside: Inside, command: Command, data: Readable) {
  const errors = lines(command)
  const stdin = new PassThrough()
  let stdout = ''
  const line = await open(inside, {
    stdin,
    stdout: (chunk) => {
      stdout = (stdout + chunk.toString('utf8')).slice(-8 * 1024 * 1024)
    },
    stderr: errors.take,
  })
  let failure: unknown
  const over = new AbortController()
  const feed = async () => {
    for await (const chunk of data) {
      while (line.waiting() > waitingBytes && !over.signal.aborted) await pause(10)
      if (over.signal.aborted) return
      stdin.write(chunk)
    }
    stdin.end()
  }
  const fed = feed().catch((error) => {
    failure = error
    line.hangUp()
  })
  try {
    const code = await line.ended.catch((error) => {
      throw failure ?? error
    })
    over.abort()
    judge({ inside, command, code, said: errors.end() })
    await fed
    if (failure) throw failure
    return { stdout, stderr: errors.text() }
  } finally {
    over.abort()
    data.destroy()
  }
}

function judge({ inside, command, code, said }: { inside: Inside; command: Command; code: number; said: string }) {
  if (code === 0 || command.accepts?.includes(code)) return
  const where = `in container ${inside.container} of pod ${inside.pod}`
  const hint = code === 127 ? { hint: `the container has no ${command.file}: use access: volume` } : {}
  throw new JobError('server', `${command.file} ${where} ended with ${code}: ${lastLines(said)}`, hint)
}

/** Standard error by lines, and its end for an error text. */
function lines({ onError }: Command) {
  let text = ''
  let rest = ''
  return {
    take: (chunk: Buffer) => {
      text = (text + chunk.toString('utf8')).slice(-64 * 1024)
      const parts = (rest + chunk.toString('utf8')).split('\n')
      rest = parts.pop() ?? ''
      for (const line of parts) onError?.(line)
    },
    end: () => {
      if (rest) onError?.(rest)
      rest = ''
      return text
    },
    text: () => text,
  }
}

interface Line {
  /** The exit code. Rejects, retryable, when the connection broke before it came. */
  ended: Promise<number>
  /** When something came last. */
  heard(): number
  /** Bytes that were written and have not gone yet. */
  waiting(): number
  /** Nothing more is taken until the stream has room. */
  hold(stream: Writable): void
  hangUp(): void
}

interface Ends {
  stdin?: Readable
  stdout(chunk: Buffer): void
  stderr(chunk: Buffer): void
}

async function open({ cluster, pod, container, command, signal }: Inside, ends: Ends): Promise<Line> {
  signal.throwIfAborted()
  const { kubeConfig, namespace } = cluster
  const what = `run ${programOf(command)} in container ${container} of pod ${pod}`
  let heard = Date.now()
  let status: V1Status | undefined
  const taking = (take: (chunk: Buffer) => void) =>
    new Writable({
      write(chunk: Buffer, _, done) {
        heard = Date.now()
        take(chunk)
        done()
      },
    })
  const [stdout, stderr] = [taking(ends.stdout), taking(ends.stderr)]
  const stdin = ends.stdin ?? null
  const opening = new Exec(kubeConfig).exec(
    namespace,
    pod,
    container,
    command,
    stdout,
    stderr,
    stdin,
    false,
    (said) => {
      status = said
    },
  )
  const socket = await opened(opening, signal).catch((error) => {
    signal.throwIfAborted()
    throw refused(what, error)
  })
  const hangUp = () => socket.terminate()
  signal.addEventListener('abort', hangUp, { once: true })
  if (signal.aborted) hangUp()
  const wait = async () => {
    if (socket.readyState !== socket.CLOSED) await new Promise((resolve) => socket.once('close', resolve))
    signal.removeEventListener('abort', hangUp)
    signal.throwIfAborted()
    if (!status) throw new JobError('server', `could not ${what}: the connection broke`, { retryable: true })
    return exitCodeOf(status, what)
  }
  const ended = wait()
  ended.catch(() => {})
  return {
    ended,
    heard: () => heard,
    waiting: () => socket.bufferedAmount,
    hold: (stream) => {
      socket.pause()
      stream.once('drain', () => socket.resume())
    },
    hangUp: () => {
      socket.resume()
      hangUp()
    },
  }
}

/** `sh -c SCRIPT …` is known by its script, `env A=b PROGRAM …` by its program. */
function programOf([first = '', ...rest]: string[]): string {
  if (first === 'sh') return rest[3] ?? rest[1] ?? first
  return (first === 'env' ? rest.find((word) => !word.includes('=')) : first) ?? ''
}

function exitCodeOf(status: V1Status, what: string): number {
  if (status.status === 'Success') return 0
  const code = status.details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message
  if (code !== undefined) return Number(code)
  throw new JobError('server', `could not ${what}: ${status.message ?? status.reason ?? 'no reason given'}`)
}
