import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { type Case, cases } from './cases.ts'
import { disturbedShare, type Run } from './measure.ts'

const opening = `# Benchmarks

What holdfast costs, against the same work done by hand with other programs: same data, same S3 server, in turn. Every side runs
once before it counts, but for those that take minutes: they run fewer times. Each run waits for an idle machine, and is done again
when other programs took more than ${disturbedShare * 100} % of it meanwhile; a section says when they always did. Figures are medians, with
the lowest and the highest in brackets; the ratio is that of the medians. Seconds depend on the machine, ratios much less.
\`test_scripts/bench\` measures it all again, on your machine, and writes this page.

Everything runs on one small machine: client, S3 server and database share its cores, so that less CPU time for the client leaves
more to the others. Files are read from the page cache. The server closes each connection after one request, to all clients
alike. Memory is that of all processes of a side together, without the servers.
`

/** Renews the sections of the cases that were measured; the others stay as they are. */
export function report(folder: string, document: string): void {
  const old = existsSync(document) ? readFileSync(document, 'utf8').split(/^(?=## )/m) : []
  const sections = Object.entries(cases).flatMap(([name, one]) => {
    const runs = runsOf(join(folder, `${name}.jsonl`))
    const before = old.find((section) => section.startsWith(`## ${one.title}\n`))
    return runs.length > 0 ? [sectionOf(one, runs, versionsIn(folder, name))] : (before ?? [])
  })
  const before = old.find((section) => section.startsWith(`## ${nodesTitle}\n`))
  const nodes = nodesSection(folder) ?? before
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

/** Cases of one engine have those of their first word. */
function versionsIn(folder: string, name: string): string {
  return readFileSync(join(folder, `${name.split('_')[0]}.versions`), 'utf8')
    .trim()
    .split('\n')
    .join(', ')
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

function nodesSection(folder: string): string | undefined {
  const runs = linesOf(join(folder, 'nodes.jsonl')) as NodesRun[]
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

${runs.length / rows.length} rounds on ${new Date().toISOString().slice(0, 10)}. ${machine()}; ${versionsIn(folder, 'nodes')}.
`
}

function sectionOf({ title, what, most, seconds, stored, memory }: Case, runs: Run[], versions: string): string {
  const sides = Map.groupBy(runs, (run) => run.side)
  const ours = sides.get('holdfast') ?? runs
  const columns: [string, (own: Run[], side: string) => string][] = [
    ['', (_, side) => side],
    ['seconds', (own) => spread(own, (run) => run.wall, 2) + (most ? '' : rateOf(own))],
    ['CPU seconds', (own) => spread(own, (run) => run.cpu, 2)],
    ['memory, MiB', (own) => spread(own, (run) => mebibytes(run.peak), 0)],
  ]
  if (ours.some((run) => run.stored))
    columns.push(['stored, MiB', (own) => String(mebibytes(median(own, (run) => run.stored ?? 0)))])
  if (most) columns.push(["holdfast's time is", (own, side) => (side !== 'holdfast' ? ratioOf(ours, own) : '')])
  const rows = [...sides].map(([side, own]) => columns.map(([, text]) => text(own, side)))
  return `
## ${title}

${what}

${[columns.map(([head]) => head), columns.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')}

${verdict({ ours, sides, most, seconds, stored, memory })}
${roundsOf(sides)}${disturbance(runs)} on ${new Date().toISOString().slice(0, 10)}. ${machine()}; ${versions}.
`.trimStart()
}

function rateOf(runs: Run[]): string {
  if (!runs.every((run) => run.bytes)) return ''
  return ` (${Math.round(median(runs, (run) => (run.bytes ?? 0) / run.wall / 2 ** 20))} MiB/s)`
}

function roundsOf(sides: Map<string, Run[]>): string {
  const most = Math.max(...[...sides.values()].map((own) => own.length))
  const fewer = [...sides].filter(([, own]) => own.length < most).map(([side, own]) => `${own.length} of ${side}`)
  return `${most} rounds${fewer.length > 0 ? ` (${fewer.join(', ')})` : ''}`
}

interface Verdict {
  ours: Run[]
  sides: Map<string, Run[]>
  most: Case['most']
  seconds: Case['seconds']
  stored: Case['stored']
  memory: Case['memory']
}

function verdict({ ours, sides, most = {}, seconds, stored = {}, memory }: Verdict): string {
  const said = (wanted: string, met: boolean) => `Wanted: ${wanted}: **${met ? 'met' : 'missed'}**.`
  const against = (limits: Record<string, number>, what: string, ratio: (theirs: Run[]) => number) =>
    Object.entries(limits).map(([side, limit]) => {
      const theirs = sides.get(side)
      if (!theirs) return `Not here: ${side}.`
      return said(`at most ${limit} × the ${what} of ${side}`, ratio(theirs) <= limit)
    })
  const bytes = (runs: Run[]) => median(runs, (run) => run.stored ?? 0)
  const peak = Math.max(...ours.map((run) => mebibytes(run.peak)))
  const slowest = Math.max(...ours.map((run) => run.wall))
  return [
    ...against(most, 'time', (theirs) => Number(ratioOf(ours, theirs))),
    ...against(stored, 'bytes', (theirs) => bytes(ours) / bytes(theirs)),
    ...(seconds ? [said(`at most ${seconds} s in every run`, slowest <= seconds)] : []),
    ...(memory ? [said(`at most ${memory} MiB in every run`, peak <= memory)] : []),
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
