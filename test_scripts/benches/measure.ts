import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Outcome } from '../../job/io/outcome.ts'
import { heartbeatMs } from '../../job/io/protocol.ts'

/** One run. Times in seconds, memory in bytes. */
export interface Run {
  side: string
  wall: number
  cpu: number
  /** Most memory that all its processes had together. */
  peak: number
  /** What a worker says that it has stored. */
  bytes?: number
  /** What the S3 server has afterwards. */
  stored?: number
  /** Share of the machine that neither the run nor our servers used. */
  others: number
}

/** An idle machine still has its daemons. */
const idleShare = 0.1
export const disturbedShare = 0.15
const sampleMs = 200
/** Of /proc/stat, in a second. */
const ticks = 100
const pageBytes = 4096

/** Resolves to the exit code: 75 when others used too much of the machine meanwhile. */
export async function measure(args: string[]): Promise<number> {
  const { values, positionals: command } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      case: { type: 'string', default: '' },
      side: { type: 'string', default: '' },
      results: { type: 'string', default: '' },
      log: { type: 'string', default: '' },
      beside: { type: 'string', default: '' },
      order: { type: 'string' },
      stored: { type: 'string' },
      patience: { type: 'string', default: '0' },
      'warm-up': { type: 'boolean', default: false },
      whatever: { type: 'boolean', default: false },
    },
  })
  const { side, results, log, order } = values
  const beside = values.beside.split(',').filter(Boolean)
  await untilIdle(Number(values.patience))
  const before = { busy: busySeconds(), servers: cpuOf(beside), own: process.cpuUsage() }
  const { status, ...figures } = await timed(command, { log, order })
  if (status !== 0) return 1
  const own = process.cpuUsage(before.own)
  const known = figures.cpu + cpuOf(beside) - before.servers + (own.user + own.system) / 1e6
  const others = Math.max(0, busySeconds() - before.busy - known) / (figures.wall * cpus().length)
  const stored = values.stored === undefined ? {} : { stored: bytesIn(values.stored) }
  const run: Run = { side, ...figures, ...stored, others }
  const disturbed = others > disturbedShare && !values.whatever
  console.log(
    `${values.case}: ${textOf(run)}${values['warm-up'] ? ' (warm-up)' : disturbed ? ' (disturbed: again)' : ''}`,
  )
  if (disturbed) return 75
  if (!values['warm-up']) appendFileSync(results, `${JSON.stringify(run)}\n`)
  return 0
}

function textOf({ side, wall, cpu, peak, others }: Run): string {
  return `${side}: ${wall.toFixed(2)} s, CPU ${cpu.toFixed(2)} s, ${Math.round(peak / 2 ** 20)} MiB, others ${Math.round(others * 100)} %`
}

async function untilIdle(seconds: number): Promise<void> {
  const end = Date.now() + seconds * 1000
  for (let quiet = 0; quiet < 3 && Date.now() < end; ) {
    const before = busySeconds()
    await pause(1000)
    quiet = busySeconds() - before < idleShare * cpus().length ? quiet + 1 : 0
  }
}

/** Runs a command; bash knows what all its processes together have used, once they have ended. */
async function timed(command: string[], { log, order }: { log: string; order: string | undefined }) {
  // a server that the command leaves running must not hold the pipe
  const script = 'TIMEFORMAT="%R %U %S"; { time "$@" 2>&4 3>&- 4>&-; } 4>&2 2>&3'
  const file = openSync(log, 'w')
  const child = spawn('bash', ['-c', script, 'bash', ...command], {
    stdio: [order ? 'pipe' : 'ignore', order ? 'pipe' : file, file, 'pipe'],
  })
  let times = ''
  ;(child.stdio[3] as Readable).setEncoding('utf8').on('data', (text: string) => {
    times += text
  })
  let peak = 0
  const sampler = setInterval(() => {
    peak = Math.max(peak, memoryOf(child.pid as number))
  }, sampleMs)
  const stored = order ? await converse(child, readFileSync(order, 'utf8')) : undefined
  const [status] = child.exitCode === null ? await once(child, 'close') : [child.exitCode]
  clearInterval(sampler)
  const [wall = 0, user = 0, system = 0] = times.trim().split(' ').map(Number)
  return {
    status: stored === 'failed' ? 1 : status,
    wall,
    cpu: user + system,
    peak,
    ...(stored ? { bytes: Number(stored) } : {}),
  }
}

/** As the job does it: the input stays open until the worker has answered. */
async function converse({ stdin, stdout }: ChildProcess, order: string): Promise<number | 'failed'> {
  stdin?.write(order)
  const heart = setInterval(() => stdin?.write('{"type":"heartbeat"}\n'), heartbeatMs)
  try {
    for await (const line of createInterface(stdout as Readable)) {
      const message = JSON.parse(line)
      if (message.type !== 'result' && message.type !== 'error') continue
      stdin?.end()
      if (message.type === 'error') {
        console.error(message.message)
        return 'failed'
      }
      const { value, failed } = message.value as Outcome
      for (const failure of failed) console.error(failure.message)
      return failed.length > 0 ? 'failed' : (value as { size: number }[]).reduce((sum, part) => sum + part.size, 0)
    }
    return 'failed'
  } finally {
    clearInterval(heart)
  }
}

function bytesIn(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0)
}

/** Some processes and all that they started. */
function familyOf(roots: number[]) {
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => statOf(pid) ?? [])
  const family = new Set(roots)
  for (let size = 0; size !== family.size; ) {
    size = family.size
    for (const { pid, parent } of processes) if (family.has(parent)) family.add(pid)
  }
  return processes.filter(({ pid }) => family.has(pid))
}

/** Resident memory of everything below a process. Of a single process the kernel knows the peak by itself. */
function memoryOf(root: number): number {
  const members = familyOf([root]).filter(({ pid }) => pid !== root)
  const highest = members.length === 1 ? highWaterOf(members[0]?.pid as number) : 0
  return Math.max(
    highest,
    members.reduce((sum, { rss }) => sum + rss, 0),
  )
}

function statOf(pid: string) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const number = (index: number) => Number(fields[index])
    // its own, and of children that have ended
    const cpu = number(11) + number(12) + number(13) + number(14)
    return { pid: Number(pid), parent: number(1), cpu: cpu / ticks, rss: number(21) * pageBytes }
  } catch {
    return undefined
  }
}

function highWaterOf(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** What servers have used with all their processes; `pidFiles` begin with a pid, and are looked at anew each time. */
function cpuOf(pidFiles: string[]): number {
  const roots = pidFiles
    .filter((file) => existsSync(file))
    .map((file) => Number.parseInt(readFileSync(file, 'utf8'), 10))
  return familyOf(roots).reduce((sum, { cpu }) => sum + cpu, 0)
}

function busySeconds(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (
    readFileSync('/proc/stat', 'utf8').split('\n')[0] as string
  )
    .split(/\s+/)
    .map(Number)
  return (user + nice + system + irq + softirq + steal) / ticks
}
