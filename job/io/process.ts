import { randomUUID } from 'node:crypto'
import { closeSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline as pipelined, type Readable, Transform, type Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { execa } from 'execa'
import { JobError } from '../errors.ts'
import type { Lender } from '../storage.ts'
import { lendingChunks, piecesOf } from './lending.ts'

export interface Program {
  file: string
  args: string[]
  signal: AbortSignal
  /** Goes to standard input, then its end. For secrets: argv can be read by every user of the machine. */
  input?: string
  /** Texts that the child reads from /dev/fd/3, /dev/fd/4 …: option files that never touch a disk. */
  files?: string[]
  /** Beside our own environment, for what is not secret: where the files are, how to talk to the server. Undefined takes a variable away. */
  env?: Record<string, string | undefined>
  /** How long it may take to end after TERM, in ms, before KILL follows; 10 s unless told. */
  graceMs?: number
  /** Exit codes besides 0 that are no failure; what they mean stands in what it said. */
  accepts?: readonly number[]
  /** Called for each line of standard error as it comes. */
  onError?: (line: string) => void
  /** How many bytes of an `output` may wait to be read at most, for one that writes in bursts; 1 MiB unless told. */
  burst?: number
}

export interface Ended {
  stdout: string
  stderr: string
  exitCode: number
}

export interface RunOptions {
  /** Called for each line of both streams as it comes. */
  onLine?: (line: string) => void
  /** How many bytes of each stream are kept for the result; the rest is dropped from the front. */
  keep?: number
}

const graceful = 10_000
const defaultKeep = 8 * 1024 * 1024
/** What a pipe gives at most at a time. */
const pipeChunk = 64 * 1024

/** Runs a program to its end and gives whatever it said; the caller judges the exit code. Rejects when it cannot be started or is cancelled. */
export async function run(program: Program, { onLine, keep = defaultKeep }: RunOptions = {}): Promise<Ended> {
  const child = start(program)
  const [stdout, stderr, result] = await Promise.all([
    collect(child.stdout, keep, onLine),
    collect(child.stderr, keep, onLine),
    child,
  ])
  refuseUnstarted(program, result)
  program.signal.throwIfAborted()
  return { stdout, stderr, exitCode: result.exitCode ?? 1 }
}

/**
 * The standard output of a program as a stream that ends only when the program ended with 0 and, where its kind of output has one,
 * with `trailer`. A dump that is silently short, or whose program died after the last byte, errors the stream instead. The program
 * starts now, and a pipe holds it back until it is read. A stream that is destroyed ends it.
 */
export function output(program: Program, trailer?: RegExp): Lender {
  const child = start(program)
  const errors = collect(child.stderr, 4096, program.onError)
  let tail = ''
  const stream = new Transform({
    // as `inPieces`
    readableObjectMode: true,
    readableHighWaterMark: Math.ceil((program.burst ?? 1024 * 1024) / pipeChunk),
    transform(chunk: Buffer, _, done) {
      if (trailer) tail = (tail + chunk.subarray(-256).toString('latin1')).slice(-256)
      done(null, chunk)
    },
    flush(done) {
      complete().then(() => done(), done)
    },
    destroy(error, done) {
      child.kill('SIGTERM')
      done(error)
    },
  })
  async function complete(): Promise<void> {
    await wellEnded(program, child, errors)
    if (trailer && !trailer.test(tail))
      throw new JobError('server', `${nameOf(program)} ended without saying that its output is complete`)
  }
  pipelined(child.stdout, stream, () => {})
  return lendingChunks(stream)
}

/**
 * Feeds a stream to the standard input of a program, and resolves to what it said when it ended with 0. When the stream fails the
 * program is killed: an early end of its input would look like the whole of it.
 */
export async function consume(program: Program, source: Readable): Promise<{ stdout: string; stderr: string }> {
  const child = start(program, 'pipe')
  const said = Promise.all([collect(child.stdout, defaultKeep), collect(child.stderr, 64 * 1024, program.onError)])
  let failure: unknown
  const fed = pour(source, child.stdin as Writable, () => child.kill('SIGKILL')).catch((error) => {
    failure = error
  })
  const [result] = await Promise.all([child, fed])
  refuseUnstarted(program, result)
  program.signal.throwIfAborted()
  // input that failed by itself says what is wrong; a program that gave up does so better than the pipe that broke
  if (failure instanceof JobError) throw failure
  if (failure === undefined || result.exitCode) {
    await wellEnded(
      program,
      child,
      said.then(([, errors]) => errors),
    )
  }
  if (failure !== undefined)
    throw new JobError('server', `${nameOf(program)} did not get all of its input`, { cause: failure })
  const [stdout, stderr] = await said
  return { stdout, stderr }
}

/**
 * Not a pipeline: when the source fails, that would close the input before anybody could kill who reads it. A reader that goes away first
 * is left to say why.
 */
async function pour(source: Readable, input: Writable, kill: () => void): Promise<void> {
  let gone: Error | undefined
  const leave = (error: Error) => {
    gone ??= error
    source.destroy(gone)
  }
  input.on('error', leave)
  input.once('close', () => {
    if (!input.writableFinished) leave(new Error('its input was closed'))
  })
  const give = (chunk: Buffer) =>
    new Promise<void>((resolve, reject) => {
      input.write(chunk, (error) => {
        if (!error) return resolve()
        leave(error)
        reject(error)
      })
    })
  // whoever iterates is told
  source.on('error', () => {})
  try {
    for await (const chunk of piecesOf(source)) await give(chunk)
    input.end()
    await finished(input, { readable: false })
  } catch (error) {
    if (gone === undefined) kill()
    input.destroy()
    throw gone ?? error
  }
}

async function wellEnded(program: Program, child: Child, errors: Promise<string>): Promise<void> {
  const result = await child
  refuseUnstarted(program, result)
  program.signal.throwIfAborted()
  if (result.exitCode === 0 || program.accepts?.includes(result.exitCode ?? -1)) return
  throw new JobError(
    'server',
    `${nameOf(program)} ended with ${result.exitCode ?? result.signal}: ${lastLines(await errors)}`,
  )
}

/**
 * A Node child that speaks JSON lines: our own workers. With Node's defaults the garbage of a fast stream grows the process past
 * 300 MiB: a small young generation, one malloc arena, and buffers that go back to the system at once keep it below 256 MiB whatever the size
 * (docs/benchmarks.md).
 */
export function startWorker({ args, signal }: { args: string[]; signal: AbortSignal }) {
  const child = execa(process.execPath, ['--max-semi-space-size=1', ...args], {
    env: { MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: '131072' },
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: false,
    reject: false,
    cancelSignal: signal,
    // long enough to take an upload back
    forceKillAfterDelay: 3 * graceful,
  })
  return child
}

type Child = ReturnType<typeof start>

/** Only that: who calls it reads its output, and awaits it. It never rejects. */
export function start(program: Program, stdin: 'ignore' | 'pipe' = program.input === undefined ? 'ignore' : 'pipe') {
  const { file, args, signal, input, files = [], env = {}, graceMs = graceful } = program
  const nameless = files.map(namelessFile)
  const child = execa(file, args, {
    // execa's types do not know descriptors behind the third; Node does
    stdio: [stdin, 'pipe', 'pipe', ...(nameless as unknown as 'pipe'[])],
    env,
    buffer: false,
    reject: false,
    cancelSignal: signal,
    forceKillAfterDelay: graceMs,
    encoding: 'buffer',
  })
  if (input !== undefined) feed(child.stdin, input)
  for (const fd of nameless) closeSync(fd)
  return child as typeof child & { stdout: Readable; stderr: Readable }
}

/**
 * A file that has no name any more: a child reads it as /dev/fd/N, nobody else can, and a kill leaves nothing behind.
 * A pipe of Node's will not do: it is a socket, which cannot be opened by path.
 */
function namelessFile(text: string): number {
  const path = join(tmpdir(), `.holdfast-${randomUUID()}`)
  const fd = openSync(path, 'wx+', 0o600)
  unlinkSync(path)
  writeSync(fd, text)
  return fd
}

/** A child that ends early closes its end: that is told by its exit code, not by EPIPE here. */
function feed(stream: NodeJS.WritableStream | null | undefined, text: string): void {
  stream?.on('error', () => {})
  stream?.end(text)
}

/** What a stream says as text, its last `keep` characters. */
export async function collect(stream: Readable, keep: number, onLine?: (line: string) => void): Promise<string> {
  let kept = ''
  let rest = ''
  stream.setEncoding('utf8')
  for await (const chunk of stream) {
    kept = (kept + chunk).slice(-keep)
    if (!onLine) continue
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line)
  }
  if (rest) onLine?.(rest)
  return kept
}

function refuseUnstarted(program: Program, result: { code?: string | undefined; cause?: unknown }): void {
  if (result.code !== 'ENOENT' && result.code !== 'EACCES') return
  throw new JobError('configuration', `${program.file} cannot be started (${result.code})`, {
    hint: `install ${nameOf(program)}, or say where it is with \`clients\``,
    cause: result.cause,
  })
}

function nameOf(program: Program): string {
  return program.file.split('/').at(-1) ?? program.file
}

/** The end of what a program said, on one line, for an error text. */
export function lastLines(text: string, count = 4): string {
  return (
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
      .slice(-count)
      .join(' · ') || 'it said nothing'
  )
}
