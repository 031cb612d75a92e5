import { expect, test } from 'vitest'
import { check } from '../../commands/check.ts'
import { exitCodeOf, JobError } from '../../errors.ts'
import { memoryStore } from '../catalog/store.ts'
import { folderWith, planJob, planOf } from './plan-job.ts'

const full = new JobError('storage', 'storage offsite: no space left')

test('check asks whether the storages of the plan can be written, and writes nothing', async () => {
  const [main, offsite] = [memoryStore(), memoryStore({ name: 'offsite' })]
  const asked: string[] = []
  const storages = [main, { ...offsite, writable: async (prefix: string) => void asked.push(prefix) }]
  const job = planJob({ storages, backups: planOf(await folderWith({ a: 'a' })) })
  expect((await check(job, { plan: 'nightly' })).data).toMatchObject({ storages: ['main', 'offsite'] })
  expect(asked).toEqual(['nightly/'])
  expect([main.objects.size, offsite.objects.size]).toEqual([0, 0])
})

test('check fails with exit code 23 when a storage of the plan cannot be written, and not for others', async () => {
  const offsite = { ...memoryStore({ name: 'offsite' }), writable: () => Promise.reject(full) }
  const checking = async (names: string[]) => {
    const backups = planOf(await folderWith({ a: 'a' }), { storages: names })
    return check(planJob({ storages: [memoryStore(), offsite], backups }), { plan: 'nightly' })
  }
  await checking(['main'])
  const failure = await checking(['main', 'offsite']).catch((error) => error)
  expect([failure, exitCodeOf(failure)]).toEqual([full, 23])
})
