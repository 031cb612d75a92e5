import { join } from 'node:path'
import { JobError } from '../../errors.ts'
import { client } from '../../io/clients.ts'
import { lastLines, run } from '../../io/process.ts'

interface Printing {
  /** The node's folder, and the files below it. */
  folder: string
  paths: string[]
  clients?: string | undefined
  password?: string | undefined
  signal: AbortSignal
}

/**
 * Reads every native file of a node to its end with ndb_print_backup_file, and counts its records by table. That program ends
 * with 0 also on a file that stops in the middle, so its output is followed to see whether the file was whole.
 */
export async function countPrinted(
  printing: Printing,
): Promise<{ fq_name: string; table_id: number; records: string }[]> {
  const names = new Map<string, string>()
  const counts = new Map<string, number>()
  const followers = { ctl: () => followTables(names), Data: () => followRecords(counts), log: followHeader }
  for (const [ending, follower] of Object.entries(followers)) {
    for (const path of printing.paths.filter((one) => one.endsWith(`.${ending}`)))
      await printFile(path, printing, follower())
  }
  return [...counts].map(([id, count]) => ({
    fq_name: names.get(id) ?? '',
    table_id: Number(id),
    records: String(count),
  }))
}

async function printFile(
  path: string,
  { folder, clients, password, signal }: Printing,
  follower: Follower,
): Promise<void> {
  const { stdout, stderr, exitCode } = await run(
    {
      file: client('ndb_print_backup_file', clients),
      args: ['-u', ...(password === undefined ? [] : ['--backup-password-from-stdin']), join(folder, path)],
      signal,
      ...(password === undefined ? {} : { input: `${password}\n` }),
    },
    { keep: 4096, onLine: follower.line },
  )
  if (exitCode === 0 && follower.whole()) return
  throw new JobError(
    'verification',
    `ndb_print_backup_file cannot read ${path} to its end: ${lastLines(stdout + stderr, 1)}`,
  )
}

/** Sees the lines of one file, and says at the end whether the file was whole. */
interface Follower {
  line(line: string): void
  whole(): boolean
}

function followTables(names: Map<string, string>): Follower {
  let name = ''
  let closed = false
  return {
    line: (line) => {
      name = /^Key: 1 value\(\d+\) : "(.+)"/.exec(line)?.[1] ?? name
      const id = /^Key: 2 value\(4\) : (\d+)/.exec(line)?.[1]
      if (id && name) names.set(id, name)
      if (line.startsWith('Stop GCP:')) closed = true
    },
    whole: () => closed,
  }
}

function followRecords(counts: Map<string, number>): Follower {
  let table = ''
  let header = false
  let open = 0
  return {
    line: (line) => {
      if (line.startsWith('Magic: NDBBCKUP')) header = true
      if (line.startsWith('-- Fragment header')) open++
      if (line.startsWith('-- Fragment footer')) open--
      table = /^TableId: (\d+)/.exec(line)?.[1] ?? table
      const count = /^NoOfRecords: (\d+)/.exec(line)?.[1]
      if (count) counts.set(table, (counts.get(table) ?? 0) + Number(count))
    },
    whole: () => header && open === 0,
  }
}

function followHeader(): Follower {
  let header = false
  return {
    line: (line) => {
      if (line.startsWith('Magic: NDBBCKUP')) header = true
    },
    whole: () => header,
  }
}
