import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseValues } from '../config.ts'
import { type Figures, gaugesOf } from '../metrics.ts'

const ended = new Date('2026-11-21T02:20:00Z')
const time = ended.getTime() / 1000
const done = { verb: 'backup', outcome: 'done', code: 0, seconds: 12.3 } as const
const failed = { verb: 'backup', outcome: 'failed', code: 23, seconds: 1, warnings: ['one', 'two'] } as const
const figures: Figures = {
  backup: { bytes: 100, stored: [{ storage: 'main', bytes: 40 }] },
  retention: { failed: false, storages: [{ storage: 'main', kept: 7, removed: 1 }] },
}

/** `holdfast_` and what follows, with the values of its samples. */
function told(...[summary, figures]: [Parameters<typeof gaugesOf>[0], Figures]): Record<string, number | number[]> {
  const gauges = gaugesOf(summary, figures, ended)
  return Object.fromEntries(
    gauges.map(({ name, samples }) => [name, samples.length === 1 ? (samples[0]?.value ?? 0) : []]),
  )
}

describe('the figures of a run', () => {
  test('that is done say all that there is', () => {
    expect(told(done, figures)).toEqual({
      holdfast_last_run_success: 1,
      holdfast_last_run_exit_code: 0,
      holdfast_last_run_duration_seconds: 12.3,
      holdfast_last_run_end_timestamp_seconds: time,
      holdfast_last_run_warnings: 0,
      holdfast_last_success_timestamp_seconds: time,
      holdfast_backup_bytes: 100,
      holdfast_backup_stored_bytes: 40,
      holdfast_retention_failed: 0,
      holdfast_retention_kept_backups: 7,
      holdfast_retention_removed_backups: 1,
    })
  })

  test('that failed leave the time of the last success alone, and what it did not come to', () => {
    expect(told(failed, {})).toEqual({
      holdfast_last_run_success: 0,
      holdfast_last_run_exit_code: 23,
      holdfast_last_run_duration_seconds: 1,
      holdfast_last_run_end_timestamp_seconds: time,
      holdfast_last_run_warnings: 2,
    })
  })

  test('whose prune failed say so although the run is done', () => {
    const gauges = told(done, { ...figures, retention: { failed: true, storages: [] } })
    expect(gauges).toMatchObject({ holdfast_last_run_success: 1, holdfast_retention_failed: 1 })
    expect(gauges).not.toHaveProperty('holdfast_retention_kept_backups')
  })
})

const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')

describe('docs/metrics.md', () => {
  test('has every metric in its table, and no other', () => {
    const names = gaugesOf(done, figures, ended).map(({ name }) => name)
    const rows = [...page.matchAll(/^\| `(holdfast_\w+)/gm)].map(([, name]) => name)
    expect(rows).toEqual(names)
  })

  test('has rules that are YAML, and ask for metrics that there are', () => {
    const names = gaugesOf(done, figures, ended).map(({ name }) => name)
    const blocks = [...page.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, text = '']) => parse(text))
    const rules = blocks.find(({ kind }) => kind === 'PrometheusRule').spec.groups[0].rules
    expect(rules.length).toBeGreaterThan(3)
    const asked = rules.flatMap(({ expr }: { expr: string }) => expr.match(/holdfast_\w+/g) ?? [])
    expect(asked.filter((name: string) => !names.includes(name))).toEqual([])
  })
})

describe('the values', () => {
  const url = 'https://pushgateway.example.org'
  const gateway = (pushgateway: object) => () => parseValues({ metrics: { pushgateway } }, 'v.yaml')

  test.each([
    [{ url }],
    [{ url: `${url}:9091/push/` }],
    [{ url: 'http://[fd00::1]:9091' }],
    [{ url, credentials: { secret: 'gateway' }, tls: { mode: 'verify-ca', ca: { secret: 'ca' } } }],
    [{ url, labels: { namespace: 'db', _x: 'a/b' } }],
  ])('may be %j', (pushgateway) => {
    expect(gateway(pushgateway)).not.toThrow()
  })

  test.each<[object, string]>([
    [{}, 'metrics.pushgateway.url: must be a text, and is missing'],
    [{ url: 'pushgateway:9091' }, 'metrics.pushgateway.url: must begin with http:// or https://'],
    [{ url: 'https://me:pw@example.org' }, 'metrics.pushgateway.url: is the address alone'],
    [{ url: `${url}/?a=b` }, 'metrics.pushgateway.url: is the address alone'],
    [{ url: `${url}/metrics` }, 'metrics.pushgateway.url: is the address alone'],
    [{ url: `${url}/metrics/job/x` }, 'metrics.pushgateway.url: is the address alone'],
    [{ url, password: 'x' }, 'metrics.pushgateway: unrecognized key: "password"'],
    [{ url, labels: { verb: 'x' } }, 'the job sets job, verb, name, storage by itself'],
    [{ url, labels: { 'a-b': 'x' } }, 'a label has A-Z, a-z, 0-9 and _'],
    [{ url, labels: { __x: 'x' } }, 'a label has A-Z, a-z, 0-9 and _'],
    [{ url, labels: { a: '' } }, 'metrics.pushgateway.labels.a: must have at least 1 character'],
    [{ url: 'http://a', tls: { mode: 'required' } }, 'metrics.pushgateway.tls: the url is http://'],
    [{ url, tls: { mode: 'disabled' } }, 'metrics.pushgateway.tls.mode: an https gateway has TLS'],
  ])('may not be %j', (pushgateway, says) => {
    expect(gateway(pushgateway)).toThrow(says)
  })

  test('show no password that stands in an address', () => {
    expect(gateway({ url: 'https://me:pw-1234@example.org' })).toThrow(expect.not.stringContaining('pw-1234'))
  })
})
