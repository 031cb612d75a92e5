import { expect, test } from 'vitest'
import { openPlan, tooFew } from '../../commands/destinations.ts'
import type { Storage } from '../../storage.ts'
import { memoryStore } from '../catalog/store.ts'
import { fakeJob } from './fake-job.ts'

const id = '1795218000'
const copyIt = `when the storage can be written again: holdfast copy nightly ${id}`
const nextOne = 'the next backup is stored on offsite, too: it encrypts for other recipients, which a copy cannot'

function storageOf(name: string, recipients: string[]): Storage {
  const encryption = { recipients, at: `storages.${name}.encryption`, identities: () => [] }
  return { ...memoryStore({ name }), ...(recipients.length > 0 ? { encryption } : {}) }
}

test.each<[string, string[], string[], string]>([
  ['neither encrypts', [], [], copyIt],
  ['only the one that has it encrypts', ['age1a'], [], copyIt],
  ['both encrypt for the same', ['age1a', 'age1b'], ['age1b', 'age1a'], copyIt],
  ['only the one that lacks it encrypts', [], ['age1a'], nextOne],
  ['they encrypt for others', ['age1a'], ['age1a', 'age1b'], nextOne],
])('a backup that too few storages have says what repairs it: %s', async (_, main, offsite, hint) => {
  const job = fakeJob({ storages: [storageOf('main', main), storageOf('offsite', offsite)], backups: { nightly: {} } })
  const storages = await openPlan(job, 'nightly', job.config.backups.nightly as never)
  storages.failures.set('offsite', new Error('is full'))
  expect(tooFew({ plan: 'nightly', id, committed: ['main'], storages })).toMatchObject({ kind: 'storage', hint })
})

test('so it does when the storage could not be opened', async () => {
  const job = fakeJob({
    storages: [storageOf('main', [])],
    backups: { nightly: { storages: ['main', 'offsite'], require: 1 } },
  })
  Object.assign(job.config.storages, { offsite: { encryption: { recipients: ['age1a'] } } })
  const storages = await openPlan(job, 'nightly', job.config.backups.nightly as never)
  const short = tooFew({ plan: 'nightly', id, committed: ['main'], storages: { ...storages, required: 2 } })
  expect(short).toMatchObject({ hint: nextOne })
})
