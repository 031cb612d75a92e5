import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { environment } from '../config.ts'
import type { Command, Folder, Place } from '../engine.ts'
import { JobError } from '../errors.ts'
import { inParallel, seats } from '../io/parallel.ts'
import { backoff, realPacing } from '../storages/backoff.ts'
import { type Cluster, connect } from './client.ts'
import { execConsume, execOutput, execute, type Said } from './exec.ts'
import { findPod, nameOf } from './pods.ts'

/**
 * A range is held in memory, since the client of Kubernetes knows no backpressure, and another is on its way. A connection that breaks
 * looks like the end of a stream: what counts is the exit status and the length of each range, which is asked for again.
 */
const rangeBytes = 16 * 1024 * 1024
/** Files that are read at once, of all containers together: each takes up to three ranges of memory. */
const seat = seats(6)
const attempts = 4

type ExecPlace = Extract<Place, { access: 'exec' }>

/** A folder in a container, of which only sh, ls, cat, head, tail and rm are used. */
export function containerFolder(
  { pod: choice, container, folder }: ExecPlace,
  {
    signal,
    scratch,
    cluster = connect(environment.kubernetes),
  }: { signal: AbortSignal; scratch: string; cluster?: Cluster },
): Folder {
  const sizes = new Map<string, number>()
  let found: Promise<string> | undefined

  async function inside(command: string[]) {
    found ??= findPod(cluster, choice, signal).then(nameOf)
    return { cluster, pod: await found, container, command, signal }
  }

  async function sh(script: string, ...args: string[]): Promise<Said> {
    return execute(await inside(['sh', '-c', script, 'sh', ...args]))
  }

  async function must(what: string, script: string, ...args: string[]): Promise<Buffer> {
    const { stdout, stderr, exitCode } = await patiently(() => sh(script, ...args))
    if (exitCode === 0) return stdout
    throw new JobError(
      'server',
      `could not ${what} in container ${container} of pod ${await found}: ${stderr.trim() || `exit code ${exitCode}`}`,
      {
        hint: 'check files.path and files.container',
      },
    )
  }

  /** One more try after a connection that broke; what the container itself refuses stays refused. */
  async function patiently<T>(work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        if (signal.aborted || attempt >= attempts || !(error instanceof JobError && error.retryable)) throw error
        await realPacing.pause(backoff(attempt, realPacing.random), signal)
      }
    }
  }

  async function files(path: string) {
    const at = posix.join(folder, path)
    const listing = await must(`list ${at}`, 'LC_ALL=C exec ls -lnRA "$1"', at)
    const listed = parseListing(listing.toString('utf8'), at)
    for (const file of listed) sizes.set(posix.join(path, file.path), file.size)
    return listed.sort((a, b) => b.size - a.size)
  }

  function range(path: string, start: number, length: number): Promise<Buffer> {
    return patiently(async () => {
      const said = await sh(
        'tail -c "+$2" "$1" | head -c "$3"',
        posix.join(folder, path),
        String(start + 1),
        String(length),
      )
      if (said.exitCode === 0 && said.stdout.length === length) return said.stdout
      throw new JobError(
        'server',
        `${path} in container ${container} of pod ${await found}: ${length} bytes from ${start} on were asked for, ${said.stdout.length} came: ${said.stderr.trim()}`,
        { retryable: true },
      )
    })
  }

  async function* ranges(path: string): AsyncGenerator<Buffer> {
    const size = sizes.get(path)
    if (size === undefined) throw new JobError('bug', `${path} was not listed before it was read`)
    const get = (start: number) => (start < size ? range(path, start, Math.min(rangeBytes, size - start)) : undefined)
    const leave = await seat()
    try {
      let next = get(0)
      for (let start = 0; next; start += rangeBytes) {
        const bytes = await next
        next = get(start + rangeBytes)
        // its failure is told when its turn comes
        next?.catch(() => {})
        yield bytes
      }
    } finally {
      leave()
    }
  }

  return {
    name: `${container}:${folder}`,
    path: folder,
    files,
    names: async () =>
      (await must(`list ${folder}`, 'exec ls -A "$1"', folder)).toString('utf8').split('\n').filter(Boolean),
    read: (path) => Readable.from(ranges(path), { objectMode: false, highWaterMark: 1024 * 1024 }),
    text: async (path) => (await must(`read ${path}`, 'exec cat "$1"', posix.join(folder, path))).toString('utf8'),
    write: async (path, text) =>
      void (await must(`write ${path}`, 'printf %s "$2" >"$1"', posix.join(folder, path), text)),
    remove: async (path) => void (await must(`remove ${path}`, 'exec rm -rf "$1"', posix.join(folder, path))),
    local: async (path, match) => {
      const wanted = (await files(path)).filter((file) => match.test(file.path))
      const copy = join(scratch, path)
      await inParallel(wanted, 3, async (file) => {
        const to = join(copy, file.path)
        await mkdir(dirname(to), { recursive: true })
        const data = Readable.from(ranges(posix.join(path, file.path)), { objectMode: false })
        await pipeline(data, createWriteStream(to), { signal })
      })
      return copy
    },
    // how much is free only df could tell, which not every image has; but the folder above is within reach
    room: async () => void (await must(`reach ${posix.dirname(folder)}`, 'exec ls -d "$1"', posix.dirname(folder))),
    output: (command) => execOutput(inside(commandLine(command)), command),
    consume: async (command, data) => execConsume(await inside(commandLine(command)), command, data),
  }
}

function commandLine({ file, args, env = {} }: Command): string[] {
  return ['env', ...Object.entries(env).map(([name, value]) => `${name}=${value}`), file, ...args]
}

/** Pure: what `ls -lnRA` lists, regular files only, under their paths below `root`. */
export function parseListing(text: string, root: string): { path: string; size: number }[] {
  const files: { path: string; size: number }[] = []
  let folder = ''
  for (const line of text.split('\n')) {
    const header = /^(\/.*):$/.exec(line)?.[1]
    if (header !== undefined) folder = posix.relative(root, header)
    const [, size, name] = /^-\S+\s+\d+\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+\S+\s(.+)$/.exec(line) ?? []
    if (size !== undefined && name !== undefined) files.push({ path: posix.join(folder, name), size: Number(size) })
  }
  return files
}
