import type { SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { type Login, type Session, withMysql } from '../../io/mysql.ts'
import { together } from '../../io/parallel.ts'
import { runningBackup, showCluster } from './management.ts'
import { restoresIn } from './marker.ts'
import { type Counts, countRecords } from './tables.ts'
import type { Source } from './values.ts'

/** The cluster before or after the native backup. */
export interface Look {
  /** Ids of the started data nodes. */
  nodes: number[]
  counts: Counts
  /** What restores left there. */
  restores: string
}

export async function look(run: SourceRun, login: Login): Promise<Look> {
  const [nodes, { counts, restores }] = await together([startedIds(run), withMysql(login, lookInMysql, run)])
  return { nodes, counts, restores }
}

async function lookInMysql(session: Session) {
  return { restores: await restoresIn(session), counts: await countRecords(session) }
}

/**
 * A node that joins or leaves has its rows in a folder of its own, or not at all: which ones cannot be told. A restore that was begun and
 * ended meanwhile is in the rows but not in the dumps. In both cases this backup is none.
 */
export async function lookAgain(run: SourceRun, login: Login, before: Look): Promise<Look> {
  const after = await look(run, login)
  const nodes = [before, after].map((one) => one.nodes.join(', '))
  if (nodes[0] !== nodes[1])
    throw disturbed(`the started data nodes changed during the backup, from ${nodes.join(' to ')}`)
  if (before.restores !== after.restores) throw disturbed('a backup was restored into the cluster during this one')
  return after
}

/** Retryable: the flow takes a fresh id. */
function disturbed(what: string): JobError {
  return new JobError('busy', what, { hint: 'run again when the cluster is calm', retryable: true })
}

async function startedIds(run: SourceRun): Promise<number[]> {
  const { dataNodes } = await showCluster({ ...(run.source as Source), signal: run.signal })
  return dataNodes.filter((node) => node.state === 'started').map((node) => node.id)
}

/** True when there was one. One that begins later makes START BACKUP fail, and the flow try again. */
export async function waitForOther(run: SourceRun): Promise<boolean> {
  const source = run.source as Source
  const management = { ...source, signal: run.signal }
  const until = Date.now() + milliseconds(source.waitForOther)
  for (let said = false; ; said = true) {
    const other = await runningBackup(management)
    if (other === undefined) return said
    if (Date.now() > until) {
      throw new JobError(
        'busy',
        `backup ${other} has been running in the cluster for more than ${source.waitForOther}`,
        { hint: 'run again when it is done, or raise waitForOther' },
      )
    }
    if (!said) run.log.info({ other }, 'waiting for another backup of the cluster')
    await new Promise((resolve) => setTimeout(resolve, 2000))
    run.signal.throwIfAborted()
  }
}

function milliseconds(duration: string): number {
  return Number(duration.slice(0, -1)) * ({ s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[duration.at(-1) as 's'] as number)
}
