import { expect, test } from 'vitest'
import { mergeRuns, type Run } from '../../catalog/runs.ts'

const started = { run: 'r', plan: 'nightly', started: '2026-11-21T00:00:00Z', sources: [] }
const failed = { reason: 'no', kind: 'storage', finished: '2026-11-21T00:01:00Z' }
const committed: Run = { id: '5', state: 'committed' }
const running: Run = { id: '5', state: 'running', started }
const said: Run = { id: '5', state: 'failed', started, failed }
const silent: Run = { id: '5', state: 'failed' }

test.each<[string, Run[][], Run]>([
  ['one storage has the backup', [[said], [committed]], committed],
  ['one storage was told that it failed, another went down before', [[running], [said]], said],
  ['one storage has nothing but a folder, and it runs on another', [[silent], [running]], running],
  ['no storage knows better', [[silent], []], silent],
])('what several storages show of a run is one run: %s', (_, lists, run) => {
  expect(mergeRuns(lists)).toEqual([run])
  expect(mergeRuns(lists.toReversed())).toEqual([run])
})

test('runs of all storages come oldest first', () =>
  expect(
    mergeRuns([
      [{ ...committed, id: '30' }],
      [
        { ...committed, id: '4' },
        { ...committed, id: '100' },
      ],
    ]).map(({ id }) => id),
  ).toEqual(['4', '30', '100']))
