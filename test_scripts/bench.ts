// What `bench` measures with, and how it writes down what came out.
//
//   node test_scripts/bench.ts measure --case C --side S --results FILE --log FILE [--beside PIDS] [--order FILE]
//                                      [--patience SECONDS] [--warm-up] [--whatever] -- COMMAND...
//   node test_scripts/bench.ts stub
//   node test_scripts/bench.ts report FOLDER DOCUMENT

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { heartbeatMs } from '../job/io/protocol.ts'
import { startS3Stub } from '../job/test/fakes/s3-stub.ts'

/** One run. Times in seconds, memory in bytes. */
interface Run {
  side: string
  wall: number
  cpu: number
  /** Most memory that all its processes had together. */
  peak: number
  /** What a worker says that it has stored. */
  bytes?: number
  /** Share of the machine that neither the run nor our servers used. */
  others: number
}

/** An idle machine still has its daemons. */
const idleShare = 0.1
const disturbedShare = 0.15
const sampleMs = 200
/** Of /proc/stat, in a second. */
const ticks = 100
const pageBytes = 4096

/** Resolves to the exit code: 75 when others used too much of the machine meanwhile. */
async function measure(args: string[]): Promise<number> {
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
      patience: { type: 'string', default: '0' },
      'warm-up': { type: 'boolean', default: false },
      whatever: { type: 'boolean', default: false },
    },
  })
  const { side, results, log, order } = values
  const beside = values.beside.split(/[\s,]+/).filter(Boolean)
  await untilIdle(Number(values.patience))
  const before = { busy: busySeconds(), servers: cpuOf(beside), own: process.cpuUsage() }
  const { status, ...figures } = await timed(command, { log, order })
  if (status !== 0) return 1
  const own = process.cpuUsage(before.own)
  const known = figures.cpu + cpuOf(beside) - before.servers + (own.user + own.system) / 1e6
  const others = Math.max(0, busySeconds() - before.busy - known) / (figures.wall * cpus().length)
  const run: Run = { side, ...figures, others }
  const disturbed = others > disturbedShare && !values.whatever
  console.log(
    `${values.case}: ${textOf(run)}${values['warm-up'] ? ' (warm-up)' : disturbed ? ' (disturbed: again)' : ''}`,
  )
  if (disturbed) return 75
  if (!values['warm-up']) appendFileSync(results, `${JSON.stringify(run)}\n`)
  return 0
}

function textOf({ side, wall, cpu, peak, others }: Run): string {
  return `${side}: ${wall.toFixed(2)} s, CPU ${cpu.toFixed(2)} s, ${mebibytes(peak)} MiB, others ${Math.round(others * 100)} %`
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
  const script = 'TIMEFORMAT="%R %U %S"; { time "$@" 2>&4; } 4>&2 2>&3'
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
      if (message.type === 'error') console.error(message.message)
      return message.type === 'error'
        ? 'failed'
        : (message.value as { size: number }[]).reduce((sum, part) => sum + part.size, 0)
    }
    return 'failed'
  } finally {
    clearInterval(heart)
  }
}

/** Resident memory of everything below a process. Of a single process the kernel knows the peak by itself. */
function memoryOf(root: number): number {
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => statOf(pid) ?? [])
  const family = new Set([root])
  for (let size = 0; size !== family.size; ) {
    size = family.size
    for (const { pid, parent } of processes) if (family.has(parent)) family.add(pid)
  }
  family.delete(root)
  const members = processes.filter(({ pid }) => family.has(pid))
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
    return { pid: Number(pid), parent: number(1), cpu: (number(11) + number(12)) / ticks, rss: number(21) * pageBytes }
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

function cpuOf(pids: string[]): number {
  return pids.reduce((sum, pid) => sum + (statOf(pid)?.cpu ?? 0), 0)
}

function busySeconds(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = (
    readFileSync('/proc/stat', 'utf8').split('\n')[0] as string
  )
    .split(/\s+/)
    .map(Number)
  return (user + nice + system + irq + softirq + steal) / ticks
}

// --- the report ---

interface Case {
  title: string
  what: string
  /** Whom holdfast is compared with, and the ratio that is wanted at most. */
  rival?: { side: string; most: number }
  /** Of memory, in MiB. */
  memory?: number
}

const cases: Record<string, Case> = {
  upload: {
    title: 'Upload of a data node',
    what: `A data node's folder of native files (two parts of 1 GiB, random bytes) to versitygw on the same machine: one worker with
its order on standard input, as the job does it, hashing every part for the manifest; against \`rclone copy\` with its
defaults, the same with parts of our size and without its own second reading for a hash (tuned), and \`s5cmd cp\`.`,
    rival: { side: 'rclone', most: 1 },
    memory: 256,
  },
  memory: {
    title: 'Memory of a large upload',
    what: `One worker sends one sparse file to a server that counts bytes and keeps none, so neither disk nor server
limits it; the server is a Node process on the same cores.`,
    memory: 256,
  },
  backup: {
    title: 'A whole backup',
    what: `\`holdfast backup\` of a cluster of two data nodes with 1600 MB to versitygw: checks, accounts, definitions, native backup, upload,
counts, manifest, removal of the local copies. By hand: \`START BACKUP\`, one \`rclone copy\` for each node at the same time,
\`mysqldump --no-data\`, removal; no accounts, no hashes, no checks. A run has about a second of its own, whatever the size: a small cluster
shows it, with 400 MB it took 1.26 times as long as by hand.`,
    rival: { side: 'by hand', most: 1.15 },
  },
  restore: {
    title: 'A whole restore',
    what: `\`holdfast restore\` of a backup of 400 MB into a fresh cluster: download and verification, tables, rows, indexes, accounts, objects,
grants, proof of every record and table. By hand: \`rclone copy\`, then \`ndb_restore\` and \`mysql\` in the order of
[Restoring by hand](restore-by-hand.md), all nodes' rows at once, without verification and without counting.`,
    rival: { side: 'by hand', most: 1.1 },
  },
}

const opening = `# Benchmarks

What holdfast costs, against the same work done by hand with other programs: same data, same S3 server, in turn. Every side runs
once before it counts. Each run waits for an idle machine, and is done again when other programs took more than ${disturbedShare * 100} % of it
meanwhile; a section says when they always did. Figures are medians, with the lowest and the highest in brackets; the ratio is
that of the medians. Seconds depend on the machine, ratios much less.
\`test_scripts/bench\` measures it all again, on your machine, and writes this page.

Everything runs on one small machine: client, S3 server and cluster share its cores, so that less CPU time for the client leaves
more to the others. Files are read from the page cache. The server closes each connection after one request, to all clients
alike.
`

/** Renews the sections of the cases that were measured; the others stay as they are. */
function report(folder: string, document: string): void {
  const old = existsSync(document) ? readFileSync(document, 'utf8').split(/^(?=## )/m) : []
  const versions = readFileSync(join(folder, 'versions'), 'utf8').trim().split('\n').join(', ')
  const sections = Object.entries(cases).flatMap(([name, one]) => {
    const runs = runsOf(join(folder, `${name}.jsonl`))
    const before = old.find((section) => section.startsWith(`## ${one.title}\n`))
    return runs.length > 0 ? [sectionOf(one, runs, versions)] : (before ?? [])
  })
  const before = old.find((section) => section.startsWith(`## ${nodesTitle}\n`))
  const nodes = nodesSection(join(folder, 'nodes.jsonl'), versions) ?? before
  if (nodes) sections.push(nodes)
  writeFileSync(
    document,
    [opening, ...sections]
      .map((section) => section.trim())
      .join('\n\n')
      .concat('\n'),
  )
  console.log(`written: ${basename(document)}`)
}

function runsOf(file: string): Run[] {
  return linesOf(file) as Run[]
}

function linesOf(file: string): unknown[] {
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

/** One run in Kubernetes. Times in seconds: of the whole run, and from the end of NDB's own backup to the stored one. */
interface NodesRun {
  nodes: number
  bytes: number
  wall: number
  upload: number
}

const nodesTitle = 'More data nodes, in Kubernetes'

function nodesSection(file: string, versions: string): string | undefined {
  const runs = linesOf(file) as NodesRun[]
  if (runs.length === 0) return undefined
  const rows = [...Map.groupBy(runs, (run) => run.nodes)].map(([nodes, own]) => {
    const bytes = median(own, (run) => run.bytes)
    const upload = median(own, (run) => run.upload)
    return `| ${nodes} | ${mebibytes(bytes)} | ${spread(own, (run) => run.wall, 1)} | ${spread(own, (run) => run.upload, 1)} | ${Math.round(mebibytes(bytes) / upload)} |`
  })
  return `## ${nodesTitle}

Backups of clusters of 1, 2 and 4 data nodes with as many bytes in each node, by a worker pod beside each, to an S3 server in the same
cluster. All pods, the data nodes and the S3 server share one machine here: what is seen is that nodes do not wait for each other,
not how fast four machines are.

| data nodes | MiB | whole run, seconds | upload, seconds | upload, MiB/s |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

${runs.length / rows.length} rounds on ${new Date().toISOString().slice(0, 10)}. ${machine()}; ${versions}.
`
}

function sectionOf({ title, what, rival, memory }: Case, runs: Run[], versions: string): string {
  const sides = Map.groupBy(runs, (run) => run.side)
  const ours = sides.get('holdfast') ?? []
  const rows = [...sides].map(([side, own]) => {
    const ratio = rival && side !== 'holdfast' ? ratioOf(ours, own) : ''
    const rate =
      own.every((run) => run.bytes) && !rival
        ? ` (${Math.round(median(own, (run) => (run.bytes ?? 0) / run.wall / 2 ** 20))} MiB/s)`
        : ''
    return `| ${side} | ${spread(own, (run) => run.wall, 2)}${rate} | ${spread(own, (run) => run.cpu, 2)} | ${spread(own, (run) => mebibytes(run.peak), 0)} | ${ratio} |`
  })
  const counted = Math.min(...[...sides.values()].map((own) => own.length))
  return `
## ${title}

${what}

| | seconds | CPU seconds | memory, MiB | holdfast's time is |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

${verdict({ ours, sides, rival, memory })}
${counted} rounds${disturbance(runs)} on ${new Date().toISOString().slice(0, 10)}. ${machine()}; ${versions}.
`.trimStart()
}

function verdict({
  ours,
  sides,
  rival,
  memory,
}: {
  ours: Run[]
  sides: Map<string, Run[]>
  rival: Case['rival']
  memory: Case['memory']
}): string {
  const said = (wanted: string, met: boolean) => `Wanted: ${wanted}: **${met ? 'met' : 'missed'}**.`
  const ratio = rival && ratioOf(ours, sides.get(rival.side) ?? [])
  const most = Math.max(...ours.map((run) => mebibytes(run.peak)))
  return [
    ...(rival ? [said(`at most ${rival.most} × the time of ${rival.side}`, Number(ratio) <= rival.most)] : []),
    ...(memory ? [said(`at most ${memory} MiB in every run`, most <= memory)] : []),
  ].join(' ')
}

/** Runs that were disturbed time and again count in the end: then the page says so. */
function disturbance(runs: Run[]): string {
  if (Math.max(...runs.map((run) => run.others)) <= disturbedShare) return ''
  return `, while other programs took ${spread(runs, (run) => 100 * run.others, 0)} % of the machine,`
}

function ratioOf(ours: Run[], theirs: Run[]): string {
  return (median(ours, (run) => run.wall) / median(theirs, (run) => run.wall)).toFixed(2)
}

function spread<T>(runs: T[], of: (run: T) => number, digits: number): string {
  const all = runs.map(of)
  return `${median(runs, of).toFixed(digits)} (${Math.min(...all).toFixed(digits)}–${Math.max(...all).toFixed(digits)})`
}

function median<T>(runs: T[], of: (run: T) => number): number {
  const sorted = runs.map(of).sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 ? (sorted[half] ?? 0) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20)
}

function machine(): string {
  const system = /^PRETTY_NAME="(.*)"/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1]
  const kernel = execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim()
  return `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${system}, Linux ${kernel}`
}

const [action, ...args] = process.argv.slice(2)
if (action === 'measure') process.exit(await measure(args))
else if (action === 'stub') console.log((await startS3Stub()).endpoint)
else if (action === 'report') report(...(args as [string, string]))
else throw new Error(`no action ${action}`)
