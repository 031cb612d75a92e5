import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseValues } from '../../config.ts'
import { readTemplate } from '../../kubernetes/template.ts'
import { chart, ciFile, ciFiles, helms, type Json, noHelm, ofKind } from './helm.ts'

const values = Object.fromEntries(ciFiles.map((name) => [name, parse(readFileSync(ciFile(name), 'utf8'))]))

test.each(ciFiles)('the job accepts chart/ci/%s.yaml', (name) => {
  expect(() => parseValues(values[name], name)).not.toThrow()
})

test("the job accepts the chart's own values", () => {
  const own = parse(readFileSync(join(chart, 'values.yaml'), 'utf8'))
  expect(() => parseValues(own, 'values.yaml')).not.toThrow()
})

test('the examples in values.yaml are right', () => {
  const own = readFileSync(join(chart, 'values.yaml'), 'utf8')
  const uncommented = own
    .replace(/^(storages|backups|restores|copies|metrics): \{\}$/gm, '$1:')
    .replace(/^# {2}/gm, '  ')
  const { storages, backups, restores, copies, metrics } = parseValues(parse(uncommented), 'values.yaml')
  expect(metrics.pushgateway).toMatchObject({ url: 'http://pushgateway.monitoring:9091', labels: { team: 'data' } })
  expect(Object.keys({ ...storages, ...backups, ...restores, ...copies })).toEqual([
    'main',
    'local',
    'offsite',
    'nightly',
    'standby',
    'away',
  ])
})

describe.skipIf(noHelm).each(helms)('with $name', ({ render, template }) => {
  describe.each(ciFiles)('chart/ci/%s.yaml', (name) => {
    test('becomes a config for each workload, which the job accepts and which has its values unchanged', async () => {
      const objects = await render({ files: [ciFile(name)] })
      const configs = Object.values(ofKind(objects, 'ConfigMap')).filter(({ data }) => data['holdfast.yaml'])
      const given = values[name]
      const named = [given.backups, given.restores, given.copies].flatMap((map) => Object.keys(map ?? {}))
      const workloads = 1 + named.length
      expect(configs).toHaveLength(workloads + (name === 'everything-on' ? 1 : 0))
      for (const config of configs) {
        const { 'holdfast.yaml': text } = config.data
        expect(() => parseValues(parse(text), config.metadata.name)).not.toThrow()
        expect(parse(text)).toEqual(expectedConfig(given, config))
      }
    })

    test('becomes templates that the job makes worker pods from', async () => {
      const objects = await render({ files: [ciFile(name)] })
      const folder = await mkdtemp(join(tmpdir(), 'holdfast-workers-'))
      const configs = Object.values(ofKind(objects, 'ConfigMap')).filter(({ data }) => data['workers.yaml'])
      expect(configs.length > 0).toBe(name !== 'databases')
      for (const { data, metadata } of configs) {
        const file = join(folder, 'workers.yaml')
        await writeFile(file, data['workers.yaml'])
        const { names, max, pod } = readTemplate(file)
        expect(names).toMatch(/^[a-z0-9-]+-worker$/)
        expect(max).toBe(values[name].workers?.max ?? 16)
        expect(pod).toMatchObject({ apiVersion: 'v1', kind: 'Pod', spec: { automountServiceAccountToken: false } })
        expect(pod.spec.containers[0]).toMatchObject({ name: 'worker', stdin: true, stdinOnce: false })
        expect(pod.metadata.labels).toMatchObject({ 'app.kubernetes.io/component': 'worker' })
        expect(metadata.labels).toMatchObject(planLabels(pod.metadata.labels))
      }
      await rm(folder, { recursive: true })
    })

    test('renders the same twice', async () => {
      const [one, other] = await Promise.all([template({ files: [ciFile(name)] }), template({ files: [ciFile(name)] })])
      expect(one.stdout).toBe(other.stdout)
      expect(one.stdout).not.toBe('')
    })
  })
})

test.skipIf(helms.length < 2).each(ciFiles)('every Helm renders the same of chart/ci/%s.yaml', async (name) => {
  const [first, ...others] = await Promise.all(helms.map(({ render }) => render({ files: [ciFile(name)] })))
  const sorted = (objects: Json[] = []) => objects.map((object) => JSON.stringify(object)).sort()
  for (const other of others) expect(sorted(other)).toEqual(sorted(first))
})

/** The part of the values that a workload gets: its plan, restore or copy, and the storages that this names. */
function expectedConfig(given: Json, { metadata, immutable }: Json): Json {
  const { cluster, storages, backups, restores, copies } = given
  const plan = metadata.labels['holdfast/plan']
  const restore = metadata.labels['holdfast/restore']
  const copy = metadata.labels['holdfast/copy']
  const metrics = metricsOf(given)
  const only = (all: Json, names: string[]) =>
    Object.fromEntries(names.map((name) => [name, forJob(all[name], { once: immutable })]))
  if (plan)
    return { cluster, storages: only(storages, backups[plan].storages), backups: only(backups, [plan]), ...metrics }
  if (restore) {
    const used = only(storages, restores[restore].from.storages)
    return { cluster, storages: used, restores: only(restores, [restore]), ...metrics }
  }
  if (copy) {
    const { plan: of, from = [], to = [] } = copies[copy]
    const own = backups[of]
    const used = [...new Set([...from, ...to, ...(own?.storages ?? [])])]
    const ofPlan = own ? { backups: only(backups, [of]) } : {}
    return { cluster, storages: only(storages, used), copies: only(copies, [copy]), ...ofPlan, ...metrics }
  }
  return {
    cluster,
    storages: only(storages, Object.keys(storages)),
    backups: only(backups, Object.keys(backups ?? {})),
    restores: only(restores, Object.keys(restores ?? {})),
  }
}

/** With the labels that keep releases apart. */
function metricsOf({ metrics }: Json): Json {
  if (!metrics) return {}
  const { pushgateway } = metrics
  const labels = { namespace: 'db', release: 'prod', ...pushgateway.labels }
  return { metrics: { pushgateway: { ...pushgateway, labels } } }
}

function forJob({ pod, job, ...entry }: Json, { once = false }: { once?: boolean }): Json {
  if (entry.filesystem) {
    const { create, ...filesystem } = entry.filesystem
    return { ...entry, filesystem }
  }
  if (!once) return entry
  const { schedule, suspend, ...rest } = entry
  const { timeZone, ...alone } = rest
  return rest.limits || rest.retention ? rest : alone
}

function planLabels(labels: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => key.startsWith('holdfast/')))
}
