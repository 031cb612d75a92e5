import { z } from 'zod'
import { Credentials, Tls } from './io/connection.ts'
import type { Gauge } from './io/exposition.ts'
import type { Summary } from './io/report.ts'
import { httpUrl } from './urls.ts'

/** What runs tell Prometheus: where it is sent, and what it says. docs/metrics.md tells how to read it. */

/** Those that the job sets by itself. */
const ownLabels = ['job', 'verb', 'name', 'storage']

const labelName = z
  .string()
  .regex(/^(?!__)[A-Za-z_][A-Za-z0-9_]*$/, 'a label has A-Z, a-z, 0-9 and _, no digit and not __ first')
  .refine((name) => !ownLabels.includes(name), `the job sets ${ownLabels.join(', ')} by itself`)

const Pushgateway = z
  .strictObject({
    url: httpUrl
      .refine(isAddress, 'is the address alone: without an account, a question mark, # or /metrics')
      .describe('address of the gateway'),
    credentials: Credentials.optional().describe('account of a gateway that asks for one (HTTP basic authentication)'),
    tls: Tls.unwrap().optional().describe('how the connection to an https gateway is protected'),
    labels: z
      .record(labelName, z.string().min(1))
      .default({})
      .describe('more labels of all metrics; the chart adds `namespace` and `release`'),
  })
  .refine(({ url, tls }) => !tls || url.startsWith('https:'), {
    message: 'the url is http://, where nothing is encrypted: leave tls out, or say https://',
    path: ['tls'],
  })
  .refine(({ tls }) => tls?.mode !== 'disabled', {
    message: 'an https gateway has TLS: say http://, or another mode',
    path: ['tls', 'mode'],
  })
export type Pushgateway = z.infer<typeof Pushgateway>

export const Metrics = z
  .strictObject({
    pushgateway: Pushgateway.optional().describe(
      'a Prometheus Pushgateway, which gets the figures of each run at its end',
    ),
  })
  .describe('where runs send figures of themselves')

/** What a run has in numbers, as far as it came; commands write it down as they go. */
export interface Figures {
  /** A backup that is stored: what it is made of, and what each storage keeps of it. */
  backup?: { bytes: number; stored: { storage: string; bytes: number }[] }
  /** A prune that was begun, by itself or after a backup. Failed until it has ended well. */
  retention?: { failed: boolean; storages: { storage: string; kept: number; removed: number }[] }
}

/**
 * What is sent of a run. A family that is left out keeps what the last run sent of it: so a failure leaves the time of the last success
 * alone, and a backup that was not stored the sizes of the last that was.
 */
export function gaugesOf({ code, seconds, warnings }: Summary, figures: Figures, ended: Date): Gauge[] {
  const now = ended.getTime() / 1000
  const isDone = code === 0
  return [
    gauge('last_run_success', 'Whether the last run ended with exit code 0', Number(isDone)),
    gauge('last_run_exit_code', 'Exit code of the last run', code),
    gauge('last_run_duration_seconds', 'How long the last run took', seconds),
    gauge('last_run_end_timestamp_seconds', 'When the last run ended', now),
    gauge('last_run_warnings', 'Warnings of the last run', Array.isArray(warnings) ? warnings.length : 0),
    ...(isDone ? [gauge('last_success_timestamp_seconds', 'When the last run that succeeded ended', now)] : []),
    ...backupGauges(figures.backup),
    ...retentionGauges(figures.retention),
  ]
}

function backupGauges(backup: Figures['backup']): Gauge[] {
  if (!backup) return []
  const stored = backup.stored.map(({ storage, bytes }) => ({ labels: { storage }, value: bytes }))
  return [
    gauge('backup_bytes', 'Size of the last stored backup before compression', backup.bytes),
    { name: 'holdfast_backup_stored_bytes', help: 'What a storage keeps of the last stored backup', samples: stored },
  ]
}

function retentionGauges(retention: Figures['retention']): Gauge[] {
  if (!retention) return []
  const { failed, storages } = retention
  const kept = storages.map(({ storage, kept }) => ({ labels: { storage }, value: kept }))
  const removed = storages.map(({ storage, removed }) => ({ labels: { storage }, value: removed }))
  const counts: Gauge[] = [
    { name: 'holdfast_retention_kept_backups', help: 'Backups that the last prune left in a storage', samples: kept },
    { name: 'holdfast_retention_removed_backups', help: 'Backups that the last prune removed', samples: removed },
  ]
  return [
    gauge('retention_failed', 'Whether the last prune, by itself or after a backup, failed', Number(failed)),
    ...(storages.length > 0 ? counts : []),
  ]
}

function gauge(name: string, help: string, value: number): Gauge {
  return { name: `holdfast_${name}`, help, samples: [{ labels: {}, value }] }
}

/** A password in it would lie in a ConfigMap, and a path behind it is the job's to add. */
function isAddress(url: string): boolean {
  return /^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/.test(url) && !/\/metrics(\/job\/.*)?\/*$/.test(url)
}
