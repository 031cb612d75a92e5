import { once } from 'node:events'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { patiently } from '../patience.ts'
import { selfSigned } from '../servers/certificate.ts'
import { findPushgateway, type PushgatewayServer, type Sample, startPushgateway } from '../servers/pushgateway.ts'
import { openWorkspace, succeeds, type Values, type Workspace } from './harness.ts'

const program = await findPushgateway()
const password = 'pw-Vk3Pz6-gateway'
/** Its bcrypt hash, as the gateway wants it. */
const hash = '$2b$04$abcdefghijklmnopqrstuulBwO0WrHx6UZYmYMi8jgAljO6ayM6S2'

let space: Workspace & { values: Values & { metrics?: object } }
let source: string

beforeEach(async () => {
  space = await openWorkspace()
  source = join(space.dir, 'source')
  await mkdir(source)
  await writeFile(join(source, 'a.txt'), 'hello\n'.repeat(10_000))
  const docs = (path: string) => ({ name: 'docs', files: { access: 'local', path } })
  space.values.backups.nightly = { storages: ['local'], sources: [docs(source)], retention: { last: 1 } }
  space.values.restores.back = {
    from: { plan: 'nightly', storages: ['local'] },
    targets: [docs(join(space.dir, 'target'))],
  }
  await mkdir(join(space.dir, 'target'))
})

afterEach(() => space.remove())

/** Backups have their second for a name. */
async function nextSecond(): Promise<void> {
  const seconds = () => Math.floor(Date.now() / 1000)
  const now = seconds()
  await vi.waitUntil(() => seconds() > now, patiently)
}

describe.skipIf(!program)('a Pushgateway', () => {
  let gateway: PushgatewayServer

  async function start(): Promise<void> {
    gateway = await startPushgateway(program as string)
    onTestFinished(() => gateway.stop())
    space.values.metrics = { pushgateway: { url: gateway.url, labels: { namespace: 'db', path: '/a "b"\\\n' } } }
  }

  /** The figures of a verb's last run, by name without `holdfast_`. */
  async function figures(verb: string): Promise<Record<string, number>> {
    const mine = (await gateway.samples()).filter(({ labels }) => labels.verb === verb)
    return Object.fromEntries(mine.map(({ name, value }) => [name.replace('holdfast_', ''), value]))
  }

  test('has what a backup came to, in a group of its own', async () => {
    await start()
    const before = Date.now() / 1000
    const { stderr } = await succeeds(space.holdfast('backup', 'nightly'))
    expect(stderr).not.toContain('metrics were not sent')
    const told = await figures('backup')
    expect(told).toMatchObject({
      last_run_success: 1,
      last_run_exit_code: 0,
      last_run_warnings: 0,
      retention_failed: 0,
      retention_kept_backups: 1,
      retention_removed_backups: 0,
    })
    const end = told.last_run_end_timestamp_seconds ?? 0
    expect(end).toBeGreaterThan(before)
    expect(end).toBeLessThan(Date.now() / 1000)
    expect(told.last_success_timestamp_seconds).toBe(end)
    expect(told.last_run_duration_seconds).toBeGreaterThan(0)
    expect(told.backup_bytes).toBeGreaterThan(60_000)
    expect(told.backup_stored_bytes).toBeGreaterThan(0)
    expect(told.backup_stored_bytes).toBeLessThan(told.backup_bytes ?? 0)
    const [one] = (await gateway.samples()).filter(({ name }) => name.endsWith('stored_bytes')) as [Sample]
    expect(one.labels).toEqual({
      job: 'holdfast',
      instance: '',
      verb: 'backup',
      name: 'nightly',
      storage: 'local',
      namespace: 'db',
      path: '/a "b"\\\n',
    })
  })

  test('keeps the time of the last success, and the sizes, when a run fails', async () => {
    await start()
    await succeeds(space.holdfast('backup', 'nightly'))
    const good = await figures('backup')
    await rm(source, { recursive: true })
    const { code } = await space.holdfast('backup', 'nightly')
    expect(code).not.toBe(0)
    const told = await figures('backup')
    expect(told).toMatchObject({ last_run_success: 0, last_run_exit_code: code })
    expect(told.last_success_timestamp_seconds).toBe(good.last_success_timestamp_seconds)
    expect(told.last_run_end_timestamp_seconds).toBeGreaterThan(good.last_run_end_timestamp_seconds ?? 0)
    expect(told.backup_stored_bytes).toBe(good.backup_stored_bytes)
  })

  test('is told of a prune that failed after a backup, and of one that went well again', async () => {
    await start()
    await succeeds(space.holdfast('backup', 'nightly'))
    await nextSecond()
    // the newest, by a clock that was wrong, and no restore would take it: nothing older goes
    const damaged = join(space.store, 'nightly', `${Math.floor(Date.now() / 1000) + 3600}.json`)
    await writeFile(damaged, '{}')
    const { summary } = await succeeds(space.holdfast('backup', 'nightly'))
    expect(summary.warnings).toEqual([expect.stringContaining('storage local was not pruned')])
    expect(await figures('backup')).toMatchObject({ last_run_success: 1, last_run_warnings: 1, retention_failed: 1 })

    const { code } = await space.holdfast('prune', 'nightly')
    expect(code).toBe(23)
    expect(await figures('prune')).toMatchObject({ last_run_success: 0, last_run_exit_code: 23, retention_failed: 1 })

    await rm(damaged)
    await nextSecond()
    await succeeds(space.holdfast('backup', 'nightly'))
    expect(await figures('backup')).toMatchObject({
      last_run_warnings: 0,
      retention_failed: 0,
      retention_kept_backups: 1,
      retention_removed_backups: 2,
    })
    // a group of its own: it knows nothing of the backup
    expect(await figures('prune')).toMatchObject({ retention_failed: 1 })
    await succeeds(space.holdfast('prune', 'nightly'))
    expect(await figures('prune')).toMatchObject({ last_run_success: 1, retention_failed: 0 })
  })

  test('has the groups of all verbs beside each other, and none of a dry run or a mistyped name', async () => {
    await start()
    await succeeds(space.holdfast('backup', 'nightly'))
    await succeeds(space.holdfast('verify', 'nightly'))
    await succeeds(space.holdfast('restore', 'back'))
    await succeeds(space.holdfast('prune', 'nightly', '--dry-run'))
    expect((await space.holdfast('backup', 'nigthly')).code).toBe(2)
    const runs = (await gateway.samples()).filter(({ name }) => name === 'holdfast_last_run_success')
    const groups = runs.map(({ labels, value }) => [labels.verb, labels.name, value]).sort()
    expect(groups).toEqual([
      ['backup', 'nightly', 1],
      ['restore', 'back', 1],
      ['verify', 'nightly', 1],
    ])
  })

  test('with TLS and an account gets them, and nobody sees the password', async () => {
    const certificate = await selfSigned()
    if (!certificate) return
    onTestFinished(() => certificate.dispose())
    const webConfig = join(space.dir, 'web.yaml')
    const files = `cert_file: ${certificate.cert}, key_file: ${certificate.key}`
    await writeFile(webConfig, `tls_server_config: { ${files} }\nbasic_auth_users: { me: "${hash}" }\n`)
    const guarded = await startPushgateway(program as string, { webConfig })
    onTestFinished(() => guarded.stop())
    await space.secret('gateway', { username: 'me', password })
    await space.secret('gateway-ca', { 'ca.crt': await readFile(certificate.cert, 'utf8') })
    const url = guarded.url.replace('http:', 'https:')
    const tls = { ca: { secret: 'gateway-ca' } }
    space.values.metrics = { pushgateway: { url, tls, credentials: { secret: 'gateway' } } }
    const good = await succeeds(space.holdfast('backup', 'nightly', '--log-level', 'debug'))
    expect(good.summary.warnings).toBeUndefined()
    expect(good.stderr + good.stdout).not.toContain(password)

    await space.secret('gateway', { username: 'me', password: `${password}-old` })
    const refused = await succeeds(space.holdfast('prune', 'nightly', '--log-level', 'debug'))
    expect(refused.summary.warnings).toEqual([
      expect.stringMatching(/^metrics were not sent to https:\S+: the answer was 401 Unauthorized/),
    ])
    expect(refused.stderr + refused.stdout).not.toContain(password)
  })
})

describe('a gateway that hangs', () => {
  async function hanging(): Promise<{ heard: Promise<unknown> }> {
    const server = createServer(() => {})
    await once(server.listen(0, '127.0.0.1'), 'listening')
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    space.values.metrics = { pushgateway: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } }
    return { heard: once(server, 'request') }
  }

  test('is a warning of a run that is done all the same', async () => {
    await hanging()
    const { summary } = await succeeds(space.holdfast('backup', 'nightly'))
    expect(summary).toMatchObject({ outcome: 'done', code: 0, parts: 2 })
    expect(summary.warnings).toEqual([expect.stringContaining('there was no answer within 5 s')])
  })

  test('does not hide why a run failed', async () => {
    await hanging()
    await rm(source, { recursive: true })
    const { code, summary } = await space.holdfast('backup', 'nightly')
    expect(summary).toMatchObject({ outcome: 'failed', code, error: expect.stringContaining('source') })
    expect(summary.warnings).toEqual([expect.stringContaining('there was no answer within 5 s')])
  })

  test('does not keep a run from ending when it is told to, and the run stays what it was', async () => {
    const { heard } = await hanging()
    const run = space.start('backup', 'nightly')
    await heard
    run.kill('SIGTERM')
    const { code, summary } = await run.done
    expect(code).toBe(0)
    expect(summary.warnings).toEqual([expect.stringContaining('stopped by SIGTERM')])
  })
})
