import { JobError } from '../../errors.ts'
import { client } from '../../io/clients.ts'
import { lastLines, run } from '../../io/process.ts'
import { connectString } from './clients.ts'

/** What `ndb_mgm -e SHOW` says of the cluster. */
export interface Cluster {
  product: string
  version: string
  dataNodes: DataNode[]
  /** Ids of API slots that nobody uses and that take any host: ndb_restore needs one each. */
  freeSlots: number[]
}

export interface DataNode {
  id: number
  /** `inactive` is RonDB's reserved slot for a replica that was never wanted. */
  state: 'started' | 'starting' | 'down' | 'inactive'
  address?: string
  group?: number
}

export interface Management {
  managementServers: string[]
  clients?: string | undefined
  signal: AbortSignal
}

/** What one START BACKUP said when it was done. */
export interface NativeBackup {
  startGcp: number
  stopGcp: number
  records: number
  logRecords: number
  bytes: number
  logBytes: number
}

export async function showCluster(management: Management): Promise<Cluster> {
  return parseShow(await command(management, 'SHOW'))
}

/** Pure. Throws `server` when it is not the answer of a management server. */
export function parseShow(text: string): Cluster {
  const dataNodes: DataNode[] = []
  const freeSlots: number[] = []
  let section = ''
  for (const line of text.split('\n')) {
    section = /^\[(\w+)\(/.exec(line)?.[1] ?? section
    const node = /^id=(\d+)\s+(.*)$/.exec(line)
    if (!node) continue
    const [, id, rest] = node as unknown as [string, string, string]
    if (section === 'ndbd') dataNodes.push(dataNode(Number(id), rest))
    if (section === 'mysqld' && /not connected, accepting connect from any host/.test(rest)) freeSlots.push(Number(id))
  }
  if (dataNodes.length === 0)
    throw new JobError('server', `the management server said nothing of data nodes: ${lastLines(text)}`)
  const product = /RonDB-/i.test(text) ? 'RonDB' : 'NDB'
  const version = /(?:RonDB|ndb)-([\d.]+)/i.exec(text)?.[1] ?? 'unknown'
  return { product, version, dataNodes, freeSlots }
}

function dataNode(id: number, rest: string): DataNode {
  if (rest.startsWith('(not connected')) return { id, state: /deactivated/.test(rest) ? 'inactive' : 'down' }
  const address = /^@(\S+)/.exec(rest)?.[1]
  const group = /Nodegroup: (\d+)/.exec(rest)?.[1]
  const state = /starting|stopping|not started|single user/i.test(rest) || group === undefined ? 'starting' : 'started'
  return {
    id,
    state,
    ...(address === undefined ? {} : { address }),
    ...(group === undefined ? {} : { group: Number(group) }),
  }
}

/** The id of a backup that is running now, if any. */
export async function runningBackup(management: Management): Promise<number | undefined> {
  const text = await command(management, 'ALL REPORT BACKUPSTATUS')
  const id = /Backup (\d+) (?:started|is running)|Local backup status: backup (\d+)/i.exec(text)
  return id ? Number(id[1] ?? id[2]) : undefined
}

export type BackupOutcome = { done: NativeBackup } | { refused: 'id-taken' | 'other-running'; text: string }

/**
 * START BACKUP … WAIT COMPLETED. ndb_mgm ends with 0 also when the backup failed, so the answer is read to its last line.
 * The password goes in by standard input. Throws `server` for every failure that another id or waiting cannot mend.
 */
export async function startBackup(
  management: Management,
  { id, snapshot, password }: { id: string; snapshot: 'start' | 'end'; password?: string | undefined },
): Promise<BackupOutcome> {
  const order = `START BACKUP ${id} SNAPSHOT${snapshot.toUpperCase()} WAIT COMPLETED`
  const secret = password === undefined ? [] : ['--encrypt-backup', '--backup-password-from-stdin']
  const { stdout, stderr } = await run({
    ...program(management, [...secret, '-e', order]),
    ...(password === undefined ? {} : { input: `${password}\n` }),
  })
  return parseBackup(stdout + stderr, id)
}

/** Pure: what START BACKUP's answer means. */
export function parseBackup(text: string, id: string): BackupOutcome {
  const completed = new RegExp(`Backup ${id} started from node \\d+ completed`).test(text)
  const gcps = /StartGCP: (\d+) StopGCP: (\d+)/.exec(text)
  const records = /#Records: (\d+) #LogRecords: (\d+)/.exec(text)
  const bytes = /Data: (\d+) bytes Log: (\d+) bytes/.exec(text)
  if (completed && gcps && records && bytes) {
    const [startGcp = 0, stopGcp = 0] = gcps.slice(1).map(Number)
    const [count = 0, logRecords = 0] = records.slice(1).map(Number)
    const [data = 0, logBytes = 0] = bytes.slice(1).map(Number)
    return { done: { startGcp, stopGcp, records: count, logRecords, bytes: data, logBytes } }
  }
  const says = lastLines(text)
  if (/file already exists/i.test(text)) return { refused: 'id-taken', text: says }
  if (/already (running|in progress)|backup in progress/i.test(text)) return { refused: 'other-running', text: says }
  if (/password has (some )?bad character/i.test(text)) {
    throw new JobError('configuration', `NDB refuses the encryption password: ${says}`, {
      hint: 'use letters, digits and punctuation without ! \' " $ % \\ ^',
    })
  }
  throw new JobError('server', `START BACKUP ${id} failed: ${says}`, {
    hint: "the data nodes' logs say why; common: no room in the backup folder, a node failure",
  })
}

/** Best effort: NDB keeps going with a backup whose client is gone. */
export async function abortBackup(management: Management, id: string): Promise<void> {
  await run(program(management, ['-e', `ABORT BACKUP ${id}`]))
}

async function command(management: Management, order: string): Promise<string> {
  const { signal, managementServers } = management
  const patience = AbortSignal.timeout(patienceMs(managementServers))
  const asked = { ...management, signal: AbortSignal.any([signal, patience]) }
  const { stdout, stderr, exitCode } = await run(program(asked, ['-e', order])).catch((error) => {
    if (signal.aborted || !patience.aborted) throw error
    throw unanswered(management, 'it takes the connection and says nothing')
  })
  if (exitCode === 0) return stdout
  throw unanswered(management, lastLines(stdout + stderr))
}

/** ndb_mgm gives a host that is gone a minute before it asks the next one, and a server that is silent two. */
function patienceMs(managementServers: string[]): number {
  return 30_000 + 60_000 * (managementServers.length - 1)
}

function unanswered({ managementServers }: Management, says: string): JobError {
  return new JobError('server', `management server ${connectString(managementServers)} does not answer: ${says}`, {
    hint: 'check managementServers, the network policy and that ndb_mgmd runs',
  })
}

/** One try: ndb_mgm otherwise asks a dead server for minutes. */
function program({ managementServers, clients, signal }: Management, args: string[]) {
  return {
    file: client('ndb_mgm', clients),
    args: ['-c', connectString(managementServers), '--try-reconnect=1', ...args],
    signal,
  }
}

/** The epoch that --restore-epoch writes: all of the stop GCP. As text, since it is beyond 2^53 in long-lived clusters. */
export function epochOf(stopGcp: number): string {
  return ((BigInt(stopGcp) << 32n) | 0xffffffffn).toString()
}
