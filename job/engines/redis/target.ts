import type { RestoreStep, TargetRun, TargetState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { together } from '../../io/parallel.ts'
import { modulesIn, refuseUnready } from './check.ts'
import { type Content, contentTexts, look } from './content.ts'
import { factsOf, missingParts, type RedisFacts } from './facts.ts'
import { type Info, infoOf, productOf, settingOf } from './info.ts'
import { Creates } from './marker.ts'
import { openAll } from './masters.ts'
import { type Selection, select } from './selection.ts'
import { loginOf, type Master, mastersOf } from './topology.ts'
import type { Target } from './values.ts'
import { type Login, RefusedError, unlessRefused, type Wire } from './wire.ts'

/** What is less fits into the memory that the chart gives a job. */
const largeValue = 64 * 1024 * 1024

export interface Detail {
  facts: RedisFacts
  login: Login
  masters: Master[]
  selection: Selection
  /** Databases that the restore brings keys to. */
  databases: number[]
  creates: Creates
  content: Content
}

export async function checkTarget(run: TargetRun): Promise<TargetState> {
  const target = run.target as Target
  const facts = factsOf(run.source)
  refuseMissingParts(run, facts)
  const selection = select(facts, target)
  const databases = Object.keys(facts.databases).map(Number).filter(selection.database)
  refuseNothing(run, facts, databases)
  const login = loginOf(target, run, run.at)
  const masters = await mastersOf(target, { ...run, login })
  const wires = await openAll(masters, login, run.signal)
  try {
    const infos = (await together(wires.map((wire) => checkServer(wire, { run, facts })))) as Info[]
    refuseWithoutModules(facts, infos)
    const content = await look(wires, selection)
    const before = run.unfinished ? Creates.parse(run.unfinished.creates).databases : []
    const foreign = new Map([...content].filter(([database]) => !before.includes(database)))
    const creates = { databases: [...new Set([...databases, ...before])].sort((a, b) => a - b) }
    const detail: Detail = { facts, login, masters, selection, databases, creates, content }
    return {
      server: productOf(infos[0] as Info),
      tools: {},
      contents: run.overwrite ? [] : contentTexts(foreign),
      detail,
    }
  } finally {
    for (const wire of wires) wire.close()
  }
}

function refuseMissingParts(run: TargetRun, facts: RedisFacts): void {
  const missing = missingParts(facts, run.parts)
  if (missing.length === 0) return
  throw new JobError('verification', `backup ${run.backupId} has no ${missing.join(', ')}`, {
    hint: 'the backup is damaged: take another one, or another storage',
  })
}

/** A typo must not restore less than was meant. */
function refuseNothing(run: TargetRun, facts: RedisFacts, databases: number[]): void {
  const { include } = run.target as Target
  const absent = include?.databases.find((database) => facts.databases[database] === undefined)
  const there = Object.keys(facts.databases).join(', ') || 'none'
  if (absent !== undefined)
    throw new JobError('nothing-matches', `${run.at}.include.databases: the backup has no keys in database ${absent}`, {
      hint: `it has keys in ${there}`,
    })
  if (databases.length === 0 && there !== 'none')
    throw new JobError('nothing-matches', `${run.at}: include and exclude leave nothing to restore`)
}

async function checkServer(wire: Wire, { run, facts }: { run: TargetRun; facts: RedisFacts }): Promise<Info> {
  const info = await infoOf(wire)
  refuseUnready(info, wire.server)
  if (info.get('role') === 'slave') {
    throw new JobError('server', `${wire.server} is a replica: it takes no writes`, {
      hint: `name its master ${info.get('master_host')}:${info.get('master_port')} with ${run.at}.host`,
    })
  }
  await refuseHuge(wire, facts)
  await refuseWeak(wire)
  const { product, version } = productOf(info)
  const reads = await rdbVersionOf(wire, version)
  const newest = Math.max(...facts.snapshots.map(({ rdbVersion }) => rdbVersion))
  const foreign = product === 'Valkey' && newest > 11 && newest < 80
  if (newest <= reads && !foreign) return info
  const { server } = run.source
  throw new JobError(
    'server',
    `the backup is of ${server.product} ${server.version} (RDB version ${newest}); ${wire.server} runs ${product} ${version}, which reads ${foreign ? '11 and from 80' : `up to ${reads}`}`,
    { hint: 'restore into the same product, of the same or a newer version' },
  )
}

/** A server takes no argument larger than `proto-max-bulk-len`, 512 MB unless told otherwise. */
async function refuseHuge(wire: Wire, { largestValue }: RedisFacts): Promise<void> {
  const limit = Number((await settingOf(wire, 'proto-max-bulk-len')) || defaultLimit)
  if (largestValue + 10 <= limit) return
  throw new JobError(
    'server',
    `the backup has a value of ${Math.ceil(largestValue / 1e6)} MB, and ${wire.server} takes arguments of at most ${Math.floor(limit / 1e6)} MB`,
    { hint: 'raise proto-max-bulk-len of the target (CONFIG SET) for the restore' },
  )
}
const defaultLimit = 512 * 1024 * 1024

/** What a restore asks; servers before 7.0 cannot tell beforehand. */
const needed = ['RESTORE k 0 v', 'SCAN 0', 'UNLINK k', 'FLUSHDB', 'SELECT 0', 'CLIENT LIST', 'BGREWRITEAOF', 'TIME']

async function refuseWeak(wire: Wire): Promise<void> {
  const user = String(await wire.ask('ACL', 'WHOAMI'))
  for (const command of needed) {
    const said = await wire.ask('ACL', 'DRYRUN', user, ...command.split(' ')).catch(unlessRefused)
    if (said === undefined || said === 'OK') continue
    throw new RefusedError(wire.server, command.split(' ')[0] as string, `NOPERM ${said}`)
  }
}

/** What FUNCTION DUMP ends with, also when there are no functions: the version in two bytes, and a checksum. */
async function rdbVersionOf(wire: Wire, version: string): Promise<number> {
  if (Number.parseInt(version, 10) < 7) return 9
  const dump = Buffer.from(String(await wire.ask('FUNCTION', 'DUMP')), 'latin1')
  return dump.readUInt16LE(dump.length - 10)
}

function refuseWithoutModules({ types, modules }: RedisFacts, infos: Info[]): void {
  const there = modulesIn(infos)
  const absent = modules.filter((name) => !there.includes(name))
  if (!types.module || absent.length === 0) return
  throw new JobError(
    'server',
    `the backup has ${types.module} values of modules, and the target lacks ${absent.join(', ')}`,
    {
      hint: 'load the modules in the target first: MODULE LIST tells which it has',
    },
  )
}

/** The steps, and in people's words what each does to the target. */
export async function planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]> {
  const target = run.target as Target
  const { facts, databases, creates, content, masters, selection } = state.detail as Detail
  const clears = creates.databases.filter((database) => content.has(database))
  const keys = databases.reduce((sum, database) => sum + (facts.databases[database]?.keys ?? 0), 0)
  const what = selection.whole ? `${keys} keys` : `the chosen ones of ${keys} keys`
  if (facts.largestValue > largeValue)
    run.warn(
      `the largest value has ${Math.ceil(facts.largestValue / 1e6)} MB: the job needs so much memory beside its own`,
    )
  if (facts.moduleData) run.warn('what modules keep beside the keys, such as indexes, is not restored: make it again')
  return [
    ...(clears.length > 0
      ? [
          {
            name: 'clear',
            writes: true,
            says: `remove ${selection.whole ? 'all' : 'the chosen'} keys of ${named(clears)}`,
          },
        ]
      : []),
    {
      name: 'keys',
      writes: true,
      reads: facts.snapshots.map(({ part }) => part),
      says: `restore ${what} to ${named(databases)} of ${masters.length === 1 ? 'the server' : `${masters.length} masters`}`,
    },
    ...(target.functions && facts.functions.length > 0
      ? [{ name: 'functions', writes: true, says: `load the functions ${facts.functions.join(', ')}` }]
      : []),
    ...(target.accounts && facts.accounts
      ? [
          {
            name: 'accounts',
            writes: true,
            says: `make missing ACL users${run.overwrite ? ', and set those that exist to what the backup says' : '; those that exist stay as they are'}`,
          },
        ]
      : []),
    {
      name: 'persist',
      writes: true,
      says: 'wait until the server has all on its disk: its append-only file synced, or a new snapshot',
    },
    { name: 'prove', writes: true, says: 'count the keys of the target against what was restored' },
  ]
}

function named(databases: number[]): string {
  return databases.length === 0 ? 'no database' : `database ${databases.join(', ')}`
}
