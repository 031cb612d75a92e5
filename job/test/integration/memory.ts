import { expect } from 'vitest'
import { succeeds, type Workspace } from './harness.ts'

interface Places {
  /** Makes the source another one. */
  change(round: number): Promise<unknown>
  /** What tells one content of the target from another. */
  reach(): Promise<unknown>
}

/**
 * What the target of every engine remembers. `restores.once` of the values leads from plan `nightly` into it, without a schedule.
 */
export async function remembersRequests(work: Workspace, { change, reach }: Places): Promise<void> {
  const backup = async (round: number) => {
    await change(round)
    return (await succeeds(work.holdfast('backup', 'nightly'))).summary.backup
  }
  const restore = async (name: string) => {
    const { summary } = await succeeds(work.holdfast('restore', name, '--overwrite'))
    const done = Object.values(summary.steps as object).every((step) => step === 'already restored')
    return { backup: summary.backup, done }
  }
  const once = work.values.restores.once as Record<string, unknown>
  work.values.restores.standby = { ...once, schedule: '0 3 * * *', maxAge: '1d', overwrite: true }
  const [older, newer] = [await backup(1), await backup(2)]

  expect(await restore('once')).toEqual({ backup: newer, done: false })
  const atNewer = await reach()
  expect(await restore('once')).toEqual({ backup: newer, done: true })
  expect(await restore('standby')).toEqual({ backup: newer, done: false })
  const newest = await backup(3)
  expect(await restore('standby')).toEqual({ backup: newest, done: false })
  const atNewest = await reach()
  expect(atNewest).not.toEqual(atNewer)
  expect(await restore('standby')).toEqual({ backup: newest, done: true })
  expect(await restore('once'), 'carried out once, also when another request replaced what it brought').toEqual({
    backup: newer,
    done: true,
  })
  expect(await reach()).toEqual(atNewest)

  work.values.restores.past = { ...once, pick: older, token: 'past' }
  expect(await restore('past')).toEqual({ backup: older, done: false })
  expect(await reach()).not.toEqual(atNewest)
  expect(await restore('standby'), 'what the schedule brought is replaced: it brings it again').toEqual({
    backup: newest,
    done: false,
  })
  expect(await reach()).toEqual(atNewest)
  delete work.values.restores.standby
  delete work.values.restores.past
}
