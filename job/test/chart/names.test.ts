import { readFileSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { chart, ciFile, helms, type Json, noHelm, ofKind } from './helm.ts'

const helm = helms[0] as (typeof helms)[number]
const mysql = { host: 'mysqld', credentials: { secret: 'rondb' } }
const source = { name: 'rondb', rondb: { managementServers: ['mgm'], mysql, files: { access: 'volume' } } }
const target = { name: 'rondb', rondb: { managementServers: ['mgm'], mysql } }
const storages = { main: { s3: { bucket: 'backups' } } }
const plan = { storages: ['main'], sources: [source] }
const restore = { from: { plan: 'nightly', storages: ['main'] }, targets: [target] }

describe.skipIf(noHelm)('names', () => {
  test('of two releases of 53 and plans of 63 characters, which differ at their ends, are all different', async () => {
    const names = ['1', '2'].map((end) => `${'n'.repeat(62)}${end}`)
    const values = {
      storages,
      backups: Object.fromEntries(names.map((name) => [name, { ...plan, runNow: 'now' }])),
      restores: Object.fromEntries(
        names.flatMap((name, i) => [
          [name, { ...restore, schedule: '0 4 * * *', overwrite: true }],
          [`${'o'.repeat(62)}${i}`, restore],
        ]),
      ),
    }
    const releases = ['1', '2'].map((end) => `${'r'.repeat(52)}${end}`)
    const objects = (await Promise.all(releases.map((release) => helm.render({ release, values })))).flat()
    const all = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`)
    expect(new Set(all).size).toBe(all.length)
    for (const { kind, metadata } of objects) {
      expect(metadata.name).toMatch(kind === 'CronJob' ? /^[a-z0-9-]{1,52}$/ : /^[a-z0-9-]{1,63}$/)
    }
    const workers = Object.values(ofKind(objects, 'ConfigMap')).flatMap(({ data, immutable }) =>
      data['workers.yaml'] && !immutable ? [parse(data['workers.yaml']).names] : [],
    )
    expect(workers).toHaveLength(8)
    expect(new Set(workers).size).toBe(8)
    for (const name of workers) expect(`${name}-143`).toMatch(/^[a-z0-9-]{1,63}$/)
  })

  test('of a plan, its Lease and its workers are those of its CronJob in every Job of it', async () => {
    const objects = await helm.render({ values: { storages, backups: { nightly: { ...plan, runNow: 'now' } } } })
    const [once] = Object.values(ofKind(objects, 'Job'))
    const cronJob = ofKind(objects, 'CronJob')['prod-backup-nightly']
    const leaseOf = ({ containers }: Json) =>
      containers[0].env.find(({ name }: Json) => name === 'HOLDFAST_LEASE').value
    expect(leaseOf(once.spec.template.spec)).toBe('prod-backup-nightly')
    expect(leaseOf(cronJob.spec.jobTemplate.spec.template.spec)).toBe('prod-backup-nightly')
    const workers = Object.values(ofKind(objects, 'ConfigMap')).flatMap(({ data }) => data['workers.yaml'] ?? [])
    expect(workers).toHaveLength(2)
    expect(workers[0]).toBe(workers[1])
  })
})

describe.skipIf(noHelm)('the name of a Job that runs once', () => {
  async function nameOf(change: Json = {}, values: Json = {}): Promise<string> {
    const objects = await helm.render({
      values: { storages, restores: { once: { ...restore, ...change } }, ...values },
    })
    const jobs = Object.keys(ofKind(objects, 'Job'))
    expect(jobs).toHaveLength(1)
    const [job = ''] = jobs
    expect(ofKind(objects, 'ConfigMap')).toHaveProperty(job)
    return job
  }

  test.each<[string, Json, Json]>([
    ['is suspended', { suspend: true }, {}],
    ['gets a time zone', { timeZone: 'Europe/Stockholm' }, {}],
    ['gets neighbours', {}, { backups: { nightly: plan } }],
    ['is to be kept with other history', {}, { job: { successfulJobsHistoryLimit: 9 } }],
  ])('stays when it %s', async (_, change, values) => {
    expect(await nameOf(change, values)).toBe(await nameOf())
  })

  test.each<[string, Json, Json]>([
    ['a token', { token: 'again' }, {}],
    ['a pick', { pick: 1_795_218_000 }, {}],
    ['a deadline', { deadline: '1h' }, {}],
    ['an image', {}, { image: { tag: '9.9.9' } }],
    ['a bucket', {}, { storages: { main: { s3: { bucket: 'other' } } } }],
    ['a label of its pods', {}, { pod: { labels: { team: 'data' } } }],
    ['more tries', {}, { job: { backoffLimit: 9 } }],
  ])('is another with %s', async (_, change, values) => {
    expect(await nameOf(change, values)).not.toBe(await nameOf())
  })
})

describe.skipIf(noHelm)('as a subchart', () => {
  let parent: string

  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'holdfast-parent-'))
    const dependency = { name: 'holdfast', version: '*', repository: '' }
    const dependencies = [
      { ...dependency, condition: 'holdfast.enabled' },
      { ...dependency, alias: 'second', condition: 'second.enabled' },
    ]
    await writeFile(
      join(parent, 'Chart.yaml'),
      stringify({ apiVersion: 'v2', name: 'shop', version: '1.0.0', dependencies }),
    )
    await mkdir(join(parent, 'charts'))
    await cp(chart, join(parent, 'charts/holdfast'), { recursive: true })
  })
  afterAll(() => rm(parent, { recursive: true, force: true }))

  test.each(helms)('with $name, it renders twice under two names beside each other', async ({ render }) => {
    const given = parse(readFileSync(ciFile('everything-on'), 'utf8'))
    const own = { ...given, fullnameOverride: '', nameOverride: '', serviceAccounts: {} }
    // claims have the names that the values give them
    const folder = { filesystem: { ...given.storages.folder.filesystem, claim: 'second' } }
    const second = { ...own, storages: { ...own.storages, folder } }
    const objects = await render({ chart: parent, values: { global: { a: 1 }, holdfast: own, second } })
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`)
    expect(new Set(names).size).toBe(names.length)
    expect(names).toContain('CronJob prod-holdfast-backup-nightly')
    expect(names).toContain('CronJob prod-second-backup-nightly')
  })

  test.each(helms)('with $name, its parent can leave it out, and take back its ids', async ({ render }) => {
    const ids = { runAsUser: null, runAsGroup: null, fsGroup: null }
    const holdfast = { storages, backups: { nightly: plan }, pod: { podSecurityContext: ids } }
    const objects = await render({ chart: parent, values: { holdfast, second: { enabled: false } } })
    expect(objects.map(({ metadata }) => metadata.labels['app.kubernetes.io/name'])).not.toContain('second')
    const { spec } = ofKind(objects, 'CronJob')['prod-holdfast-backup-nightly'].spec.jobTemplate.spec.template
    expect(Object.keys(spec.securityContext)).toEqual(['fsGroupChangePolicy', 'runAsNonRoot', 'seccompProfile'])
  })
})
