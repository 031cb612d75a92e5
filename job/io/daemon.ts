import { existsSync } from 'node:fs'
import { collect, lastLines, type Program, start } from './process.ts'

export interface Daemon {
  /** What `ready` found in the line that said that it serves. */
  found: string[]
  /** Resolves when it has ended, to how. */
  ended: Promise<string>
  /** The last lines that it said. */
  said(): string[]
  /** TERM, then KILL. */
  stop(): Promise<void>
}

export interface DaemonOptions {
  /** A line of standard error that says that it serves now. */
  ready: RegExp
  limitMs: number
}

/** util-linux: the kernel ends the program when we are gone, even when nobody could tell it to end. */
const untilWeDie = ['/usr/bin/setpriv', '--pdeathsig', 'TERM', '--']
const kept = 20

/**
 * Starts a program that serves us until it is stopped, or we end. Rejects with an Error that has its last lines when it ends
 * before it serves, or does not serve in time.
 */
export async function startDaemon(
  { file, args, ...program }: Omit<Program, 'signal'>,
  { ready, limitMs }: DaemonOptions,
): Promise<Daemon> {
  const [outer = '', ...before] = existsSync(untilWeDie[0] as string) ? [...untilWeDie, file] : [file]
  const stopping = new AbortController()
  const child = start({ ...program, file: outer, args: [...before, ...args], signal: stopping.signal })
  const lines: string[] = []
  const serving = Promise.withResolvers<RegExpExecArray>()
  const output = collect(child.stdout, 1024)
  const errors = collect(child.stderr, 1024, (line) => {
    lines.push(line)
    if (lines.length > kept) lines.shift()
    const found = ready.exec(line)
    if (found) serving.resolve(found)
  })
  const ended = Promise.all([child, output, errors]).then(([{ exitCode, signal }]) => `${exitCode ?? signal}`)
  const stop = async () => {
    stopping.abort()
    await ended
  }
  const timer = setTimeout(() => serving.reject(new Error(`does not serve after ${limitMs / 1000} seconds`)), limitMs)
  void ended.then((how) => serving.reject(new Error(`ended with ${how}: ${lastLines(lines.join('\n'))}`)))
  try {
    return { found: [...(await serving.promise)], ended, said: () => [...lines], stop }
  } catch (error) {
    await stop()
    throw error
  } finally {
    clearTimeout(timer)
  }
}
