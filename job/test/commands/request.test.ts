import { describe, expect, test } from 'vitest'
import { isDone, pickOf } from '../../commands/choose.ts'
import { type RestoreOptions, requestOf } from '../../commands/request.ts'
import { type Config, parseValues } from '../../config.ts'
import type { Marker } from '../../engine.ts'
import { fakeJob } from './fake-job.ts'

const cluster = { managementServers: ['mgm:1186'], mysql: { host: 'db', credentials: { secret: 'db' } } }
const target = { name: 'rondb', rondb: cluster }
const values = {
  storages: { main: { filesystem: { path: '/backups' } } },
  restores: {
    once: { from: { plan: 'nightly', storages: ['main'] }, targets: [target, { ...target, name: 'other' }] },
  },
}

type Restore = Record<string, unknown>

function asked(changes: Restore = {}, options: RestoreOptions = { restore: 'once' }) {
  const restores = { once: { ...values.restores.once, ...changes } }
  const parsed = parseValues({ ...values, restores }, 'values.yaml').restores as Config['restores']
  const job = fakeJob({ storages: [], backups: {}, restores: parsed })
  return requestOf({ job, options, delegate: async () => {} })
}

const hash = (...args: Parameters<typeof asked>) => asked(...args).targets[0]?.run.request

describe('a request', () => {
  test.each<[string, Restore]>([
    ['the pick as it is when nobody says one', { pick: 'latest' }],
    ['overwrite', { overwrite: true }],
    ['how old a backup may be', { maxAge: '26h' }],
    ['where the servers are', { targets: [{ ...target, rondb: { ...cluster, managementServers: ['other:1186'] } }] }],
    ['an empty schedule', { schedule: '' }],
  ])('stays the same with %s', (_, changes) => expect(hash(changes)).toBe(hash()))

  test.each<[string, Restore]>([
    ['pick', { pick: 1795218000 }],
    ['token', { token: 'again' }],
    ['plan', { from: { plan: 'weekly', storages: ['main'] } }],
    ['selection', { targets: [{ ...target, rondb: { ...cluster, include: { databases: ['shop'] } } }] }],
    ['schedule', { schedule: '0 4 * * *' }],
  ])('is another one with another %s', (_, changes) => expect(hash(changes)).not.toBe(hash()))

  test('is the same whether the pick is a number or a text', () =>
    expect(hash({ pick: 1795218000 })).toBe(hash({}, { restore: 'once', pick: '1795218000' })))

  test('with a schedule is the same whichever backup is picked', () => {
    const schedule = '0 4 * * *'
    expect(hash({ schedule, pick: 1795218000 })).toBe(hash({ schedule }))
  })

  test('of each target is another one', () => {
    const [first, second] = asked().targets
    expect(first?.run.request).not.toBe(second?.run.request)
  })

  test('names the place of a target in the values, also when it is the only one chosen', () =>
    expect(asked({}, { restore: 'once', sources: ['other'] }).targets.map(({ run }) => run.at)).toEqual([
      'restores.once.targets.1.rondb',
    ]))
})

const marker = (state: Marker['state'], backupId: string): Marker => ({
  request: 'hash',
  plan: 'nightly',
  creates: {},
  state,
  backupId,
})
const [begun, finished, replaced] = (['begun', 'finished', 'replaced'] as const).map((state) => marker(state, '100'))

test.each<[string, (Marker | undefined)[], boolean, string | undefined]>([
  ['what it says, when no target knows the request', [undefined, undefined], false, 'latest'],
  ['the one that a run began with', [begun], false, '100'],
  ['the one that another target has already', [finished, undefined], false, '100'],
  ['the one that a run began with rather than one that is done', [marker('finished', '200'), begun], false, '100'],
  ['the newer one of two that runs began with', [begun, marker('begun', '99')], false, '100'],
  ['none when all targets are done', [finished, finished], false, undefined],
  ['none when another request replaced what it brought', [finished, replaced], false, undefined],
  ['what it says, with a schedule', [begun], true, 'latest'],
  ['what it says, with a schedule, also when it was done with another', [finished], true, 'latest'],
])('a request picks %s', (_, markers, scheduled, pick) =>
  expect(pickOf({ pick: 'latest', scheduled }, markers)).toBe(pick),
)

test.each<[string, Marker | undefined, boolean, boolean]>([
  ['nothing is known', undefined, false, false],
  ['it was begun', begun, false, false],
  ['it is finished, with another backup', finished, false, true],
  ['another request replaced what it brought', replaced, false, true],
  ['it has a schedule and another request replaced it', marker('replaced', '200'), true, false],
  ['it has a schedule and is finished with an older backup', finished, true, false],
  ['it has a schedule and is finished with this one', marker('finished', '200'), true, true],
])('when %s, a request is done or not', (_, known, scheduled, done) =>
  expect(isDone({ scheduled }, known, '200')).toBe(done),
)

describe('the targets of a request', () => {
  const names = (options: RestoreOptions) => asked({}, { restore: 'once', ...options }).targets.map(({ name }) => name)

  test('are all, those that are named, or all but those', () => {
    expect(names({})).toEqual(['rondb', 'other'])
    expect(names({ sources: ['other'] })).toEqual(['other'])
    expect(names({ exclude: ['other'] })).toEqual(['rondb'])
  })

  test.each<[RestoreOptions, string]>([
    [{ sources: ['shop'] }, '--source shop: no target of that name (there are: rondb, other)'],
    [{ exclude: ['shop'] }, '--exclude shop: no target of that name (there are: rondb, other)'],
    [{ exclude: ['rondb', 'other'] }, '--exclude rondb other: no target is left (there are: rondb, other)'],
  ])('cannot be chosen by %j', (options, says) => {
    expect(() => names(options)).toThrow(says)
  })
})
