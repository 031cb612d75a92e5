import type { Marker, ServerFacts, SourceRun, SourceState } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { together } from '../../io/parallel.ts'
import { type Info, infoOf, productOf } from './info.ts'
import { markersAt, refuseUnfinished } from './marker.ts'
import { loginOf, type Master, mastersOf } from './topology.ts'
import type { Source } from './values.ts'
import { type Login, nameOf, RefusedError, unlessRefused, type Wire, withWire } from './wire.ts'

export interface Checked extends ServerFacts {
  login: Login
  masters: Master[]
  modules: string[]
  /** What restores left there; undefined when the account may not read it. */
  markers: Marker[] | undefined
}

export async function check(run: SourceRun): Promise<SourceState> {
  const checked = await examine(run)
  return { server: checked.server, tools: checked.tools, detail: checked }
}

/** Everything that can be known before a snapshot is asked for. */
export async function examine(run: SourceRun): Promise<Checked> {
  const source = run.source as Source
  const login = loginOf(source, run, run.at)
  const masters = await mastersOf(source, { ...run, login })
  const infos = await together(
    masters.map(({ address }) =>
      withWire(address, { login, signal: run.signal }, async (wire) => {
        const info = await infoOf(wire)
        refuseUnready(info, wire.server)
        await checkRights(wire, source)
        return info
      }),
    ),
  )
  const found = (infos as Info[]).map(productOf)
  const [first = { product: 'Redis', version: '' }] = found
  const others = new Set(found.map(({ product, version }) => `${product} ${version}`))
  if (others.size > 1) run.warn(`the masters run several versions: ${[...others].join(', ')}`)
  const markers = await markersAt(masters, login, run.signal)
  refuseUnfinished(markers ?? [], masters.map(({ address }) => nameOf(address)).join(', '))
  return { server: first, tools: {}, login, masters, modules: modulesIn(infos as Info[]), markers }
}

export function refuseUnready(info: Info, server: string): void {
  if (info.get('loading') === '1')
    throw new JobError('server', `${server} is still reading its own files`, { hint: 'try again when it is ready' })
  if (info.get('role') === 'slave' && info.get('master_link_status') !== 'up') {
    throw new JobError('server', `${server} is a replica that has lost its master`, {
      hint: 'name the master, or mend the replication: INFO replication tells its state',
    })
  }
}

/** What the account may not do is refused now, before anything is begun. */
async function checkRights(wire: Wire, source: Source): Promise<void> {
  await wire.ask('REPLCONF', 'CAPA', 'EOF')
  if (source.accounts) await wire.ask('ACL', 'LIST')
  // servers before 7.0 cannot tell, and nobody else has to be allowed to ask
  const refusal = await dryRun(wire).catch(unlessRefused)
  if (refusal) throw new RefusedError(wire.server, 'PSYNC', `NOPERM ${refusal}`)
}

/** Undefined when the account may ask for a snapshot. */
async function dryRun(wire: Wire): Promise<string | undefined> {
  const user = await wire.ask('ACL', 'WHOAMI')
  const said = await wire.ask('ACL', 'DRYRUN', String(user), 'PSYNC', '?', '-1')
  return said === 'OK' ? undefined : String(said)
}

/** Their lines are `module:name=search,ver=80200,…`. */
export function modulesIn(infos: readonly Info[]): string[] {
  const names = infos.flatMap((info) => [...info.keys()].map((line) => /^module:name=([^,]+)/.exec(line)?.[1]))
  return [...new Set(names.filter((name) => name !== undefined))]
}
