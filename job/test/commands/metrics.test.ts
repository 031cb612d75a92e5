import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Request } from '../../cli.ts'
import { entryOf, type Sending, sendMetrics } from '../../commands/metrics.ts'
import { type Config, parseValues } from '../../config.ts'
import { JobError } from '../../errors.ts'

const storages = { main: { filesystem: { path: '/a' } }, other: { filesystem: { path: '/b' } } }
const files = { access: 'local', path: '/x' }
const values = {
  storages,
  backups: { nightly: { storages: ['main', 'other'], sources: [{ name: 'docs', files }] } },
  restores: {
    standby: { from: { plan: 'nightly', storages: ['main'] }, targets: [{ name: 'docs', files }] },
  },
  copies: { away: { plan: 'nightly', from: ['main'], to: ['other'] } },
}

function configOf(pushgateway?: object): Config {
  const folders = { secretsDir: '/nowhere', volumesDir: '/nowhere', tmpDir: '/nowhere' }
  return { ...parseValues({ ...values, metrics: { pushgateway } }, 'v.yaml'), ...folders }
}

const asked = (request: object) => request as unknown as Request

describe('figures are sent of', () => {
  test.each([
    [{ verb: 'backup', plan: 'nightly', dryRun: false }, 'nightly'],
    [{ verb: 'prune', plan: 'nightly', dryRun: false }, 'nightly'],
    [{ verb: 'verify', plan: 'nightly' }, 'nightly'],
    [{ verb: 'restore', restore: 'standby', dryRun: false }, 'standby'],
    [{ verb: 'copy', name: 'away', dryRun: false }, 'away'],
    [{ verb: 'copy', name: 'nightly', dryRun: false }, 'nightly'],
  ])('%j, by its name in the values', (request, name) => {
    expect(entryOf(asked(request), configOf())).toBe(name)
  })

  test.each([
    { verb: 'backup', plan: 'nightly', dryRun: true },
    { verb: 'backup', plan: 'nigthly', dryRun: false },
    { verb: 'backup', plan: 'constructor', dryRun: false },
    { verb: 'restore', restore: undefined, backup: 'nightly', dryRun: false },
    { verb: 'pin', plan: 'nightly', id: '1' },
    { verb: 'list', plan: 'nightly' },
    { verb: 'check', plan: 'nightly' },
  ])('not %j', (request) => {
    expect(entryOf(asked(request), configOf())).toBeUndefined()
  })
})

describe('a gateway that', () => {
  function sending(pushgateway: object | undefined, stop = new AbortController().signal) {
    const warnings: string[] = []
    const run: Sending = {
      request: asked({ verb: 'backup', plan: 'nightly', dryRun: false }),
      config: configOf(pushgateway),
      summary: { verb: 'backup', outcome: 'done', code: 0, seconds: 1 },
      figures: {},
      now: new Date(),
      stop,
      warn: (message) => warnings.push(message),
    }
    return { run, warnings }
  }

  /** It hears what is sent, and never answers. Time stands still unless it is moved. */
  async function hanging() {
    const server = createServer()
    await once(server.listen(0, '127.0.0.1'), 'listening')
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => {
      vi.useRealTimers()
      server.close()
    })
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, called: once(server, 'connection') }
  }

  test('nobody named gets nothing', async () => {
    const { run, warnings } = sending(undefined)
    await sendMetrics(run)
    expect(warnings).toEqual([])
  })

  test('is not there is a warning', async () => {
    const { run, warnings } = sending({ url: 'http://127.0.0.1:1' })
    await sendMetrics(run)
    expect(warnings).toEqual([
      'metrics were not sent to http://127.0.0.1:1: there was no answer: connect ECONNREFUSED 127.0.0.1:1',
    ])
  })

  test('asks for a Secret that is missing is a warning, with what to do', async () => {
    const { run, warnings } = sending({ url: 'http://127.0.0.1:1', credentials: { secret: 'gw' } })
    await sendMetrics(run)
    expect(warnings).toEqual([
      expect.stringMatching(
        /metrics\.pushgateway\.credentials: secret gw has no readable key username .*--secrets-dir/,
      ),
    ])
  })

  const stopped = new JobError('terminated', 'stopped by SIGTERM')

  test.each([
    [5, 'usually', undefined],
    [2, 'by a run that was told to stop', AbortSignal.abort(stopped)],
  ])('hangs is given up after %d seconds %s', async (seconds, _, stop) => {
    const { url, called } = await hanging()
    const { run, warnings } = sending({ url }, stop)
    let ended = false
    const sent = sendMetrics(run).then(() => {
      ended = true
    })
    await called
    await vi.advanceTimersByTimeAsync(seconds * 1000 - 1)
    expect(ended).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    await sent
    expect(warnings).toEqual([`metrics were not sent to ${url}: there was no answer within ${seconds} s`])
  })

  test('hangs is given up at once when the run is told to stop', async () => {
    const { url, called } = await hanging()
    const stop = new AbortController()
    const { run, warnings } = sending({ url }, stop.signal)
    const sent = sendMetrics(run)
    await called
    stop.abort(stopped)
    await sent
    expect(warnings).toEqual([`metrics were not sent to ${url}: stopped by SIGTERM`])
    expect(vi.getTimerCount()).toBe(0)
  })
})
