import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Request } from '../../cli.ts'
import type { Surroundings } from '../../config.ts'
import { outcomeOf } from '../../kubernetes/coordination.ts'
import { cut } from '../../kubernetes/events.ts'
import { coordinate, uncoordinated } from '../../kubernetes/run.ts'

const main = join(import.meta.dirname, '../../main.ts')

/** Says `client` when the Kubernetes client is asked for. */
const hooks = `import { registerHooks } from 'node:module'
registerHooks({ resolve(specifier, context, next) {
  if (specifier === '@kubernetes/client-node') console.error('client')
  return next(specifier, context)
} })`

/** What a run said that ends early, as it has no values. */
async function said(env: Record<string, string>, ...args: string[]): Promise<string> {
  const flags = ['--import', `data:text/javascript,${encodeURIComponent(hooks)}`, main, ...args, '--config', '/none']
  const ran = promisify(execFile)(process.execPath, flags, { env: { PATH: process.env.PATH, ...env } })
  return (await ran.catch((error) => error)).stderr
}

describe('a run', () => {
  const here = { HOLDFAST_LEASE: 'nightly', KUBECONFIG: '/none' }
  const withWorkers = { HOLDFAST_WORKERS: '/config/workers.yaml', KUBECONFIG: '/none' }

  test.each([['backup'], ['restore']])('loads the Kubernetes client for a %s that has a lease', async (verb) => {
    const stderr = await said(here, verb, 'nightly')
    expect(stderr).toMatch(/^client$/m)
    expect(stderr).toContain('KUBECONFIG (/none) cannot be read')
  })

  test.each([
    ['outside Kubernetes', {}, ['backup', 'nightly']],
    ['without a lease', { HOLDFAST_POD_NAME: 'nightly-1-x', KUBECONFIG: '/none' }, ['backup', 'nightly']],
    ['that changes nothing', here, ['list']],
    ['that is a dry run', here, ['restore', 'nightly', '--dry-run']],
    ['that is a dry run, of a restore with worker pods', withWorkers, ['restore', 'nightly', '--dry-run']],
  ])('%s loads no Kubernetes client', async (_, env, args) => {
    const stderr = await said(env, ...args)
    expect(stderr).not.toMatch(/^client$/m)
    expect(stderr).toContain('there is no config file /none')
  })

  test.each([['backup'], ['restore']])('with worker pods and without a lease is refused: %s', async (verb) => {
    expect(await said(withWorkers, verb, 'nightly')).toContain('HOLDFAST_WORKERS without HOLDFAST_LEASE')
  })

  describe('in a pod with the template of worker pods', () => {
    const log = pino({ level: 'silent' })
    let folder: string
    let surroundings: Surroundings

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'hf-run-'))
      const user = { name: 'u' }
      const context = { name: 'c', context: { cluster: 'k', user: 'u' } }
      const cluster = { name: 'k', cluster: { server: 'https://10.0.0.1:6443' } }
      const config = { 'current-context': 'c', clusters: [cluster], contexts: [context], users: [user] }
      const spec = { containers: [{ name: 'worker', image: 'holdfast:next' }] }
      const template = { names: 'nightly-worker', max: 2, pod: { metadata: { labels: {} }, spec } }
      surroundings = { lease: 'nightly', workers: join(folder, 'workers'), kubeconfig: join(folder, 'config') }
      await writeFile(join(folder, 'config'), JSON.stringify(config))
      await writeFile(join(folder, 'workers'), JSON.stringify(template))
    })

    afterAll(() => rm(folder, { recursive: true }))

    test.each([
      ['a backup', { verb: 'backup', plan: 'nightly', dryRun: false }, true],
      ['a dry run', { verb: 'restore', restore: 'nightly', dryRun: true }, false],
      ['a verification', { verb: 'verify', plan: 'nightly' }, false],
    ])('has workers only when it holds the lease: %s', async (_, request, has) => {
      const { workers } = await coordinate({ request: request as Request, surroundings, log })
      expect(workers !== undefined).toBe(has)
    })

    test('has workers of its own image, though an upgrade changed the template', async () => {
      const request = { verb: 'backup', plan: 'nightly', dryRun: false } as Request
      const old = await coordinate({ request, surroundings: { ...surroundings, workerImage: 'holdfast:now' }, log })
      expect(old.workers?.pod.spec.containers).toEqual([{ name: 'worker', image: 'holdfast:now' }])
      const by = await coordinate({ request, surroundings, log })
      expect(by.workers?.pod.spec.containers).toEqual([{ name: 'worker', image: 'holdfast:next' }])
    })
  })

  test('outside Kubernetes has nobody to tell', async () => {
    const request = { verb: 'backup', plan: 'nightly', dryRun: false } as Request
    expect(await coordinate({ request, surroundings: {}, log: pino({ level: 'silent' }) })).toBe(uncoordinated)
  })
})

const done = { verb: 'backup', outcome: 'done', code: 0, seconds: 62.1, plan: 'nightly', backup: '1795218000' } as const
const stored = { ...done, storages: ['main', 'offsite'], parts: 14, bytes: 3 * 2 ** 30 }
const restored = { ...done, verb: 'restore' }

describe('the event of the end', () => {
  test.each([
    [stored, 'Stored', 'backup 1795218000 of plan nightly stored: 14 parts, 3.0 GiB, on main, offsite, in 62.1 s'],
    [
      { ...stored, storages: ['main'], without: { offsite: 'disk full' } },
      'Stored',
      'backup 1795218000 of plan nightly stored: 14 parts, 3.0 GiB, on main, not on offsite, in 62.1 s',
    ],
    [
      { ...done, verb: 'copy', copies: [{ backup: '1795218000', to: 'offsite' }] },
      'Copied',
      'backups of plan nightly copied in 62.1 s: 1795218000 to offsite',
    ],
    [
      { ...stored, warnings: ['node 2 is down'] },
      'Stored',
      'backup 1795218000 of plan nightly stored: 14 parts, 3.0 GiB, on main, offsite, in 62.1 s; a warning is in the log',
    ],
    [
      { ...restored, steps: { rondb: { fetch: { seconds: 1 } } }, warnings: ['a', 'b'] },
      'Restored',
      'backup 1795218000 of plan nightly restored in 62.1 s; 2 warnings are in the log',
    ],
    [
      { ...restored, steps: { rondb: 'already restored' } },
      'Restored',
      'backup 1795218000 of plan nightly had been restored already',
    ],
    [
      {
        verb: 'restore',
        outcome: 'failed',
        code: 21,
        seconds: 1,
        error: 'the target is not empty',
        hint: 'set overwrite',
      },
      'Failed',
      'restore failed: the target is not empty; set overwrite',
    ],
    [
      { verb: 'backup', outcome: 'failed', code: 143, seconds: 1, error: 'stopped by SIGTERM' },
      'Failed',
      'backup failed: stopped by SIGTERM',
    ],
  ] as const)('of %j is %s: %s', (summary, reason, note) => {
    expect(outcomeOf(summary as never)).toEqual({ reason, note })
  })

  test.each([
    ['a'.repeat(2000), 'a'.repeat(1021)],
    ['ö'.repeat(2000), 'ö'.repeat(510)],
    ['🗄'.repeat(2000), '🗄'.repeat(255)],
  ])('is cut between two characters', (long, kept) => {
    expect(cut(long)).toBe(`${kept}…`)
    expect(Buffer.byteLength(cut(long))).toBeLessThanOrEqual(1024)
  })

  test('is left as it is when it fits', () => expect(cut('ö'.repeat(512))).toBe('ö'.repeat(512)))
})
