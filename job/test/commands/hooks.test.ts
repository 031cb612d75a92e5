import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { between, repair } from '../../commands/hooks.ts'
import { JobError } from '../../errors.ts'
import { type HookActions, Hooks } from '../../hooks.ts'
import { fakeJob } from './fake-job.ts'

let said: string[]
let fails: RegExp | undefined
let scaled: Map<string, number>

const actions: HookActions = {
  exec: async ({ pod, command }) => say(`exec ${command.join(' ')} in ${pod}`),
  scale: async ({ name, replicas }) => {
    scaled.set(name, replicas)
    say(`scale ${name} ${replicas}`)
  },
  scaleBack: async ({ name }) => {
    if (!scaled.delete(name)) return false
    say(`back ${name}`)
    return true
  },
}

function say(text: string): void {
  said.push(text)
  if (fails?.test(text)) throw new JobError('server', `${text} went wrong`)
}

const quiet = Hooks.parse({
  before: [{ scale: { name: 'que' } }, { scale: { name: 'sidekiq' } }, { exec: { pod: 'db-0', command: ['flush'] } }],
  after: [
    { exec: { pod: 'db-0', command: ['go on'] } },
    { exec: { pod: 'app-0', command: ['resync'] }, when: 'success' },
    { exec: { pod: 'app-0', command: ['alarm'] }, when: 'failure' },
  ],
})

beforeEach(() => {
  said = []
  fails = undefined
  scaled = new Map()
})

function run(
  hooks: Hooks | undefined,
  { work = async () => say('task'), signal }: { work?: () => Promise<void>; signal?: AbortSignal } = {},
) {
  const job = fakeJob({ storages: [], backups: {}, hooks: actions, ...(signal ? { signal } : {}) })
  const outcome = between(job, { run: 'backup-nightly', at: 'backups.nightly.hooks', hooks }, work)
  return { job, outcome }
}

const undone = ['back sidekiq', 'back que', 'exec go on in db-0']

describe('hooks', () => {
  test('run around the work in their order, and what was scaled is back before those after it', async () => {
    expect((await run(quiet).outcome).failure).toBeUndefined()
    const before = ['scale que 0', 'scale sidekiq 0', 'exec flush in db-0']
    expect(said).toEqual([...before, 'task', ...undone, 'exec resync in app-0'])
    expect(scaled.size).toBe(0)
  })

  test.each<[string, RegExp, string[]]>([
    ['a hook before it', /flush/, []],
    ['the second scaling', /sidekiq 0/, []],
    ['the task', /task/, ['task']],
  ])('undo everything when %s fails', async (_, pattern, worked) => {
    fails = pattern
    await expect(run(quiet).outcome).rejects.toThrow('went wrong')
    expect(said.filter((text) => text === 'task')).toEqual(worked)
    expect(said.slice(-4)).toEqual([...undone, 'exec alarm in app-0'])
    expect(scaled.size).toBe(0)
  })

  test('that fail name their place in the values', async () => {
    fails = /flush/
    await expect(run(quiet).outcome).rejects.toMatchObject({
      kind: 'server',
      message: 'backups.nightly.hooks.before.2: exec flush in db-0: exec flush in db-0 went wrong',
    })
  })

  test('after it that fail do not stop the others, nor hide what the work gave', async () => {
    fails = /back sidekiq|resync/
    const { failure } = await run(quiet).outcome
    expect(failure?.message).toContain('backups.nightly.hooks.before: scaling sidekiq back')
    expect(said.slice(-3)).toEqual(['back que', 'exec go on in db-0', 'exec resync in app-0'])
  })

  test('after it run when the run was told to stop', async () => {
    const stop = new AbortController()
    const work = async () => {
      stop.abort(new JobError('terminated', 'stopped by SIGTERM'))
      stop.signal.throwIfAborted()
    }
    await expect(run(quiet, { work, signal: stop.signal }).outcome).rejects.toThrow('SIGTERM')
    expect(said.slice(-4)).toEqual([...undone, 'exec alarm in app-0'])
  })

  test('are limited in time', async () => {
    const hooks = Hooks.parse({ before: [{ http: { url: 'http://127.0.0.1:9/never' }, timeout: '1s' }] })
    await expect(run(hooks).outcome).rejects.toThrow(
      /hooks.before.0: POST http:\/\/127.0.0.1:9\/never: there was no answer/,
    )
  })

  test('of a killed run are repaired by the next one', async () => {
    scaled.set('que', 0)
    const { job, outcome } = run(undefined)
    await outcome
    await repair(job, [{ run: 'backup-nightly', at: 'backups.nightly.hooks', hooks: quiet }])
    expect(said.at(-1)).toBe('back que')
    expect(job.warnings).toEqual(['Deployment que was still scaled by a run that was killed: it is back'])
  })
})

describe('a hook that calls a URL', () => {
  let url: string
  let asked: (IncomingMessage & { text?: string }) | undefined
  const server = createServer(async (request, response) => {
    asked = request
    asked.text = ''
    for await (const chunk of request) asked.text += chunk
    if (request.url === '/hangs') return
    response.statusCode = request.url === '/refuses' ? 503 : 204
    response.end()
  })

  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })

  test('sends what it was told, with headers of a Secret', async () => {
    const http = {
      url: `${url}/resync`,
      body: '{"all":true}',
      headers: { 'content-type': 'application/json' },
      secretHeaders: { authorization: { secret: 'app', key: 'token' } },
    }
    expect((await run(Hooks.parse({ before: [{ http }] })).outcome).failure).toBeUndefined()
    expect(asked).toMatchObject({
      method: 'POST',
      url: '/resync',
      text: '{"all":true}',
      headers: { authorization: 'secret' },
    })
  })

  test.each([
    ['refuses', /the answer was 503/],
    ['hangs', /it took longer than 1s/],
  ])('fails when the other side %s', async (path, says) => {
    const hooks = Hooks.parse({ before: [{ http: { url: `${url}/${path}` }, timeout: '1s' }] })
    await expect(run(hooks).outcome).rejects.toThrow(says)
  })
})

test.each([
  [{ before: [{}] }, 'name one of exec, http, scale'],
  [{ before: [{ scale: { name: 'a' }, http: { url: 'http://a' } }] }, 'name one of exec, http, scale'],
  [{ after: [{ scale: { name: 'a' } }] }, 'scale'],
  [{ before: [{ exec: { command: ['a'] } }] }, 'name one of pod and selector'],
  [{ before: [{ http: { url: 'file:///etc/passwd' } }] }, 'must begin with http:// or https://'],
])('%j is refused', (hooks, says) => {
  expect(JSON.stringify(Hooks.safeParse(hooks).error?.issues)).toContain(says)
})
