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
  /** Tables that were left out, `database.table`: what needs one of them is a warning. */
  leftOut?: ReadonlySet<string>
}

/** Feeds a part to the client program, which can run nothing but SQL. */
export async function load({ run, reader, part, wanted, leftOut = new Set() }: Load): Promise<void> {
  const target = run.target as Target
  const { login, server } = (run.state as TargetState).detail as Detail
  const source = await reader.read(part.path)
  const program = loggedIn({
    which: 'load',
    args: [...options(server, target), ...(leftOut.size > 0 ? ['--force'] : []), ...target.extraOptions],
    login,
    server,
    values: target,
    signal: run.signal,
  })
  const text = chosen(source, { database: part.database ?? '', wanted })
  const { stderr } = await consume(program, Readable.from(text, { objectMode: false })).catch((error) => {
    throw explained(error, part)
  })
  if (leftOut.size > 0) judge(stderr, { run, part, leftOut })
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

const noTable = 1146
/** A view of what could not be made, or that uses it; a trigger of a table that was left out and is still there. */
const consequences = new Set([1305, 1356, 1347, 1359])

function judge(
  stderr: string,
  { run, part, leftOut }: { run: TargetRun; part: Stored; leftOut: ReadonlySet<string> },
): void {
  for (const line of stderr.split('\n')) {
    const code = /^ERROR (\d+)/.exec(line)?.[1]
    if (code === undefined) continue
    const [, table = ''] = /Table '(.+)' doesn't exist/.exec(line) ?? []
    const isExpected = Number(code) === noTable ? isAmong(leftOut, table) : consequences.has(Number(code))
    if (!isExpected) throw new JobError('server', `${part.path} could not be loaded: ${line}`)
    run.warn(`left out with its table: ${line.replace(/^ERROR.*?: /, '')}`)
  }
}

/** Servers on which case does not matter say names in small letters. */
function isAmong(keys: ReadonlySet<string>, table: string): boolean {
  return [...keys].some((key) => key === table || key.toLowerCase() === table)
}
