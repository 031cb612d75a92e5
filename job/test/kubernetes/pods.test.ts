import { expect, test } from 'vitest'
import { numberedPods, readThis, removePod, untilRunning } from '../../kubernetes/pods.ts'
import { fakePods } from '../fakes/pods.ts'

const { signal } = new AbortController()
const mine = { name: 'nightly-worker-0', uid: 'mine' }
const onReason = () => {}

test('a pod is removed', async () => {
  const { cluster, pods, run } = fakePods()
  run(mine.name, mine.uid)
  await removePod(cluster, mine, { graceSeconds: 0 })
  expect(pods.size).toBe(0)
  await removePod(cluster, mine, { graceSeconds: 0 })
})

test('another pod that took its name is left alone', async () => {
  const { cluster, pods, run } = fakePods()
  run(mine.name, 'of the next run')
  await removePod(cluster, mine, { graceSeconds: 0 })
  expect([...pods.keys()]).toEqual([mine.name])
})

test('another pod that took its name is not it', async () => {
  const { cluster, run } = fakePods()
  run(mine.name, 'of the next run')
  expect(await readThis(cluster, mine)).toBeUndefined()
  await expect(untilRunning(cluster, mine, { signal, onReason })).rejects.toThrow(
    'worker pod nightly-worker-0 did not start: somebody deleted it',
  )
})

test('workers of a run are known by their labels and numbers', async () => {
  const { cluster, run } = fakePods()
  const labels = { component: 'worker' }
  run('nightly-worker-0', 'a', labels)
  run('nightly-worker-12', 'b', labels)
  run('nightly-worker-x', 'c', labels)
  run('weekly-worker-0', 'd', labels)
  run('nightly-worker-1', 'e')
  expect(await numberedPods(cluster, { names: 'nightly-worker', labels, signal })).toEqual([
    { name: 'nightly-worker-0', uid: 'a' },
    { name: 'nightly-worker-12', uid: 'b' },
  ])
})
