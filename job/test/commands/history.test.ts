import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { dateOf } from '../../catalog/layout.ts'
import { planRetention } from '../../catalog/retention.ts'
import { backup } from '../../commands/backup.ts'
import type { Job } from '../../commands/job.ts'
import { restore } from '../../commands/restore.ts'
import { policyOf } from '../../commands/retained.ts'
import type { Config, Plan } from '../../config.ts'
import type { KubernetesObject } from '../../engine.ts'
import type { Storage } from '../../storage.ts'
import { filesystemStorage } from '../../storages/filesystem.ts'
import { configMap, configMaps, namespaceOf } from '../fakes/namespace.ts'
import { fakeJob } from './fake-job.ts'

const hour = 3_600_000
const day = 24 * hour
/** Nights before the last one in which Santiago changes its clocks. */
const special = [171, 325]
const end = Date.parse('2029-02-20T05:15:00Z')
const plan = {
  sources: [configMaps],
  timeZone: 'America/Santiago',
  retention: { last: 3, hourly: 12, daily: 7, weekly: 5, monthly: 12, yearly: 3, minimum: 5 },
} as unknown as Partial<Plan>

let dir: string
let storage: Storage
/** What was there, by the id of the backup. */
const taken = new Map<string, string>()

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'hf-history-'))
  storage = filesystemStorage({ name: 'main', root: dir })
})
afterAll(() => rm(dir, { recursive: true, force: true }))

test('three years go by, and every backup that is kept can be restored', async () => {
  for (const time of runs()) await backUp(time)
  expect(taken.size).toBeGreaterThan(300)

  const catalog = openCatalog({ storage, plan: 'nightly' })
  const { committed, uncommitted } = await catalog.ids()
  const backups = [...taken.keys()].map((id) => ({ id, time: dateOf(id) }))
  const policy = policyOf(jobAt(end).config.backups.nightly as Plan, 'main')
  const atOnce = planRetention({ backups, policy, now: new Date(end) }).keep.map(({ id }) => id)
  expect(committed.toReversed()).toEqual(atOnce)
  expect(committed.length).toBeGreaterThan(28)
  expect(uncommitted).toEqual([])

  for (const id of committed) expect(await restored(id)).toEqual({ text: taken.get(id) })
}, 300_000)

/** Every night, the first of them more seldom: what stays of those is the same. */
function* runs(): Generator<number> {
  for (let left = 3 * 365; left >= 0; left--) {
    const time = end - left * day
    // nobody noticed for seven weeks that there were none
    if (left > 600 && left < 650) continue
    if (left > 60 && left % 5 !== 0 && !special.includes(left)) continue
    yield time
    if (special.includes(left)) for (let i = 1; i < 24; i++) yield time + i * hour
    // the clock was four days ahead once
    if (left === 300) yield time + 4 * day
    // the last day every hour
    if (left === 1) for (let i = 1; i < 24; i++) yield time + i * hour
  }
}

async function backUp(time: number): Promise<void> {
  const text = `as it was for backup ${taken.size}`
  const { data, failure } = await backup(jobAt(time, [configMap(text)]), { plan: 'nightly' })
  expect(failure).toBeUndefined()
  taken.set((data as { backup: string }).backup, text)
}

/** Into a namespace that is empty. */
async function restored(id: string): Promise<unknown> {
  const namespace: KubernetesObject[] = []
  await restore(jobAt(end, namespace), { restore: 'again', pick: id })
  return namespace.find(({ metadata }) => metadata.name === 'state')?.data
}

/** The time does not go by while a run is at work. */
function jobAt(time: number, namespace: KubernetesObject[] = []): Job {
  const restores = {
    again: {
      from: { plan: 'nightly', storages: ['main'] },
      pick: 'latest',
      overwrite: false,
      deadline: '24h',
      targets: [configMaps],
    },
  } as Config['restores']
  const job = fakeJob({ storages: [storage], backups: { nightly: plan }, restores, now: new Date(time) })
  return { ...job, objects: async () => namespaceOf(namespace) }
}
