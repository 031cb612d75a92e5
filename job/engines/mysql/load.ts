import { Readable } from 'node:stream'
import type { Reader, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { consume } from '../../io/process.ts'
import type { Stored } from './facts.ts'
import { chosen, type Section } from './sections.ts'
import { loggedIn, type Server } from './server.ts'
import type { Detail } from './target.ts'
import type { Target } from './values.ts'

interface Load {
  run: TargetRun
  reader: Reader
  part: Stored
  wanted(section: Section, database: string): boolean
  /** What needs a table that was left out is a warning. */
  tolerant?: boolean
}

/** Feeds a part to the client program, which can run nothing but SQL. */
export async function load({ run, reader, part, wanted, tolerant = false }: Load): Promise<void> {
  const target = run.target as Target
  const { login, server } = (run.state as TargetState).detail as Detail
  const source = await reader.read(part.path)
  const program = loggedIn({
    which: 'load',
    args: [...options(server, target), ...(tolerant ? ['--force'] : []), ...target.extraOptions],
    login,
    server,
    values: target,
    signal: run.signal,
  })
  const text = chosen(source, { database: part.database ?? '', wanted })
  const { stderr } = await consume(program, Readable.from(text, { objectMode: false })).catch((error) => {
    throw explained(error, part)
  })
  if (tolerant) judge(stderr, { run, part })
}

/** Whatever the dump sets for itself, these hold for. A part may wait for another one of its table. */
function settings(target: Target): string {
  const sets = ['foreign_key_checks = 0', 'unique_checks = 0', 'innodb_lock_wait_timeout = 86400']
  return `SET SESSION ${[...sets, ...(target.skipBinlog ? ['sql_log_bin = 0'] : [])].join(', ')}`
}

/** `--binary-mode` takes no command of the client but DELIMITER from a dump; newer clients can be told in so many words. */
function options({ product }: Server, target: Target): string[] {
  return [
    '--binary-mode',
    product === 'MySQL' ? '--loose-commands=OFF' : '--loose-sandbox',
    '--default-character-set=utf8mb4',
    '--max-allowed-packet=1G',
    `--init-command=${settings(target)}`,
  ]
}

function explained(error: unknown, { path }: Stored): unknown {
  if (!(error instanceof JobError) || error.kind !== 'server') return error
  return new JobError('server', `${path} could not be loaded: ${error.message}`, {
    hint: 'the same restore, run again, begins anew; nothing has to be dropped by hand',
    cause: error,
  })
}

/** No such table, view of one, or routine; a trigger of a table that was left out and is still there. */
const leftOut = new Set([1146, 1305, 1356, 1347, 1359])

function judge(stderr: string, { run, part }: { run: TargetRun; part: Stored }): void {
  for (const line of stderr.split('\n')) {
    const code = /^ERROR (\d+)/.exec(line)?.[1]
    if (code === undefined) continue
    if (!leftOut.has(Number(code))) throw new JobError('server', `${part.path} could not be loaded: ${line}`)
    run.warn(`left out with its table: ${line.replace(/^ERROR.*?: /, '')}`)
  }
}
