import { join } from 'node:path'
import { z } from 'zod'
import type { WorkContext } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { client } from '../../io/clients.ts'
import { filesBelow } from '../../io/folder.ts'
import { lastLines, type Program, run } from '../../io/process.ts'
import { connectString, versionIn } from './clients.ts'
import { markCopy, Settle, settle } from './copies.ts'
import { countPrinted } from './printed.ts'
import { followRows } from './reading.ts'
import { isUserTable, named } from './tables.ts'

/** What a worker does for RonDB: everything that needs the native files beside it. */
export const Work = z.discriminatedUnion('do', [
  z.object({ do: z.literal('room') }),
  z.object({
    do: z.literal('survey'),
    node: z.int(),
    backupId: z.string(),
    clients: z.string().optional(),
    encryption: secretRef().optional(),
  }),
  Settle,
  z.object({
    do: z.literal('restore'),
    phase: z.enum(['tables', 'data', 'indexes']),
    node: z.int(),
    slot: z.int(),
    backupId: z.string(),
    managementServers: z.array(z.string()),
    clients: z.string().optional(),
    decryption: secretRef().optional(),
    options: z.array(z.string()),
  }),
  z.object({
    do: z.literal('read'),
    node: z.int(),
    backupId: z.string(),
    clients: z.string().optional(),
    decryption: secretRef().optional(),
  }),
  z.object({
    do: z.literal('inspect'),
    node: z.int(),
    backupId: z.string(),
    clients: z.string().optional(),
    encryption: secretRef().optional(),
  }),
])
export type Work = z.infer<typeof Work>

function secretRef() {
  return z.object({ secret: z.string(), key: z.string() })
}

export async function work(order: unknown, context: WorkContext): Promise<unknown> {
  const job = Work.parse(order)
  if (job.do === 'room') return context.beside.room()
  if (job.do === 'survey') return survey(job, context)
  if (job.do === 'settle') return settle(job, context)
  if (job.do === 'read') return readNode(job, context)
  if (job.do === 'restore') return restorePhase(job, context)
  return inspectNode(job, context)
}

/** What one node wrote: its parts are complete, and the tables in them. */
export interface Survey {
  tables: { database: string; name: string }[]
  parts: number
  bytes: number
}

async function survey(job: Extract<Work, { do: 'survey' }>, context: WorkContext): Promise<Survey> {
  const { beside } = context
  const folder = `BACKUP-${job.backupId}`
  const files = await beside.files(folder)
  await markCopy(job.backupId, context)
  const parts = checkComplete(
    files.map((file) => file.path),
    job.backupId,
    job.node,
  )
  const password = job.encryption && context.secret(job.encryption, job.encryption.key, 'encryption')
  // the tables stand in the .ctl files: of a container's files only those are fetched
  const path = await beside.local(folder, /\.ctl$/)
  const meta = await readMeta(ndbRestore({ ...job, path, options: ['--print-meta'], password, signal: context.signal }))
  if (meta.failed) throw unreadable(`${beside.name}/${folder}`, meta.failed)
  const bytes = files.reduce((sum, file) => sum + file.size, 0)
  return { tables: parseTables(meta.lines), parts, bytes }
}

/** The lines of --print-meta that matter: there are thousands of others for each table. */
async function readMeta(program: Program): Promise<{ lines: string; failed?: string }> {
  const lines: string[] = []
  const onLine = (line: string) => {
    if (line.startsWith('-- ') || /Backup from version|Stop GCP of Backup/.test(line)) lines.push(line)
  }
  const { stdout, stderr, exitCode } = await run(program, { keep: tail, onLine })
  return { lines: lines.join('\n'), ...(exitCode === 0 ? {} : { failed: stdout + stderr }) }
}

/** Enough of what a program said for an error text, in bytes. */
const tail = 64 * 1024

function unreadable(folder: string, said: string): JobError {
  if (/wrong password/i.test(said)) {
    return new JobError('configuration', `the password does not open ${folder}: ${lastLines(said, 1)}`, {
      hint: 'check the Secret that decryption (of a target) or encryption (of a source) names: nothing was changed',
    })
  }
  const hint = 'the files are damaged, or of a newer NDB than the clients'
  return new JobError('verification', `ndb_restore cannot read ${folder}: ${lastLines(said)}`, { hint })
}

/** Before anything is written: no file is missing, and ndb_restore can read the tables, with the password if there is one. */
async function readNode(job: Extract<Work, { do: 'read' }>, context: WorkContext): Promise<void> {
  const password = job.decryption && context.secret(job.decryption, job.decryption.key, 'decryption')
  const path = join(context.folder, String(job.node))
  const files = await filesBelow(path)
  checkComplete(
    files.map((file) => file.path),
    job.backupId,
    job.node,
  )
  const { failed } = await readMeta(
    ndbRestore({ ...job, path, options: ['--print-meta'], password, signal: context.signal }),
  )
  if (failed) throw unreadable(`rondb/${job.node}`, failed)
}

/** Pure: the user tables that --print-meta names, without blob part tables and indexes. */
export function parseTables(text: string): Survey['tables'] {
  const found = new Map<string, { database: string; name: string }>()
  for (const [, fqName = ''] of text.matchAll(/^-- (.+\/.+\/.+) --$/gm)) {
    if (isUserTable(named(fqName))) found.set(fqName, named(fqName))
  }
  return [...found.values()].sort((a, b) => (`${a.database}.${a.name}` < `${b.database}.${b.name}` ? -1 : 1))
}

/** Pure: every part has its .ctl, .Data and .log. Returns how many parts there are. Throws `verification` naming what is missing. */
export function checkComplete(paths: string[], backupId: string, node: number): number {
  const folders = new Set(paths.filter((path) => path.includes('/')).map((path) => path.split('/')[0] as string))
  const count = Number(/-OF-(\d+)$/.exec([...folders][0] ?? '')?.[1] ?? 1)
  const expected: string[] = []
  for (let part = 1; part <= count; part++) {
    const folder = count === 1 && folders.size === 0 ? '' : `BACKUP-${backupId}-PART-${part}-OF-${count}/`
    expected.push(
      `${folder}BACKUP-${backupId}-0.${node}.Data`,
      `${folder}BACKUP-${backupId}.${node}.ctl`,
      `${folder}BACKUP-${backupId}.${node}.log`,
    )
  }
  const missing = expected.filter((path) => !paths.includes(path))
  if (missing.length > 0) {
    throw new JobError(
      'verification',
      `the backup ${backupId} of node ${node} is not complete: ${missing.slice(0, 3).join(', ')} missing`,
      {
        hint:
          paths.length === 0
            ? 'check files.path: it must lead to the folder that holds BACKUP-<id>'
            : 'nothing can be made of it: use another backup',
      },
    )
  }
  return count
}

/** What ndb_restore counted, over all its parts. */
export interface Restored {
  tuples: number
  logEntries: number
}

async function restorePhase(job: Extract<Work, { do: 'restore' }>, context: WorkContext): Promise<Restored> {
  const password = job.decryption && context.secret(job.decryption, job.decryption.key, 'decryption')
  const path = join(context.folder, String(job.node))
  let restored: Restored = { tuples: 0, logEntries: 0 }
  const reading = job.phase === 'data' ? await followRows(path, context.progress) : undefined
  const onLine = (line: string) => {
    const { tuples, logEntries } = parseRestored(line)
    restored = { tuples: restored.tuples + tuples, logEntries: restored.logEntries + logEntries }
    reading?.line(line)
  }
  const attempt = (slot: string[]) => {
    const connection = [
      '-c',
      connectString(job.managementServers),
      ...slot,
      '--connect-retries=20',
      '--connect-retry-delay=1',
    ]
    const options = [...connection, '--no-binlog', ...phaseOptions[job.phase], ...job.options]
    return run(ndbRestore({ ...job, path, options, password, signal: context.signal }), { keep: tail, onLine })
  }
  let ended = await attempt([`--ndb-nodeid=${job.slot}`])
  // somebody else took the slot since it was seen free: then any will do
  if (
    ended.exitCode !== 0 &&
    /Could not alloc node id|Id \d+ .*(allocated|configured)/i.test(ended.stdout + ended.stderr)
  )
    ended = await attempt([])
  const said = ended.stdout + ended.stderr
  if (ended.exitCode !== 0) {
    throw new JobError(
      'server',
      `ndb_restore of ${job.phase} for node ${job.node} ended with ${ended.exitCode}: ${errorsOf(said)}`,
      {
        hint: 'the target is unfinished; mend the cause and run the same restore again',
      },
    )
  }
  reading?.end()
  return restored
}

const phaseOptions = {
  tables: ['--restore-meta', '--disable-indexes'],
  data: ['--restore-data', '--progress-frequency=1'],
  indexes: ['--rebuild-indexes'],
}

interface NdbRestore {
  node: number
  backupId: string
  path: string
  clients?: string | undefined
  options: string[]
  password?: string | undefined
  signal: AbortSignal
}

function ndbRestore({ node, backupId, path, clients, options, password, signal }: NdbRestore) {
  const decrypt = password === undefined ? [] : ['--decrypt', '--backup-password-from-stdin']
  return {
    file: client('ndb_restore', clients),
    args: [`--nodeid=${node}`, `--backupid=${backupId}`, `--backup-path=${path}`, ...options, ...decrypt],
    signal,
    ...(password === undefined ? {} : { input: `${password}\n` }),
  }
}

function errorsOf(said: string): string {
  const errors = said.split('\n').filter((line) => /ERROR|Failed|Unable|error/.test(line))
  return lastLines(errors.length > 0 ? errors.join('\n') : said)
}

/** Pure: each part of a backup prints its own sum. */
export function parseRestored(text: string): Restored {
  let tuples = 0
  let logEntries = 0
  for (const [, rows, entries] of text.matchAll(/Restored (\d+) tuples and (\d+) log entries/g)) {
    tuples += Number(rows)
    logEntries += Number(entries)
  }
  return { tuples, logEntries }
}

/** What the files of one node hold, read to their end. */
export interface Inspected {
  product: string
  version: string
  stopGcp: number | null
  tables: Survey['tables']
  parts: number
  /** Records of the .Data files by fq_name and table id, NDB's own tables included. */
  counts: { fq_name: string; table_id: number; records: string }[]
}

async function inspectNode(job: Extract<Work, { do: 'inspect' }>, context: WorkContext): Promise<Inspected> {
  const folder = join(context.folder, String(job.node))
  const paths = (await filesBelow(folder)).map((file) => file.path)
  const parts = checkComplete(paths, job.backupId, job.node)
  const password = job.encryption && context.secret(job.encryption, job.encryption.key, 'decryption')
  const meta = await readMeta(
    ndbRestore({ ...job, path: folder, options: ['--print-meta'], password, signal: context.signal }),
  )
  if (meta.failed) throw unreadable(`rondb/${job.node}`, meta.failed)

  const counts = await countPrinted({ folder, paths, clients: job.clients, password, signal: context.signal })
  const stopGcp = /Stop GCP of Backup: (\d+)/.exec(meta.lines)?.[1]
  return {
    product: /RonDB/i.test(meta.lines) ? 'RonDB' : 'NDB',
    version: versionIn(/Backup from version : (.*)/.exec(meta.lines)?.[1] ?? '') ?? 'unknown',
    stopGcp: stopGcp === undefined ? null : Number(stopGcp),
    tables: parseTables(meta.lines),
    parts,
    counts,
  }
}
