import { expect, test } from 'vitest'
import type { Order } from '../../engine.ts'
import { converse } from '../../io/conversation.ts'
import { openCrowd } from '../../io/pace.ts'
import type { ToWorker } from '../../io/protocol.ts'

const hello = {
  version: '1',
  plan: 'nightly',
  backupId: '1',
  storages: {},
  secretsDir: '',
  volumesDir: '',
  staging: '',
}
const order = (worker: string): Order => ({ do: 'download', worker, parts: [], strip: '', room: 1 })

function talk(name: string, crowd = openCrowd()) {
  const said: ToWorker[] = []
  const conversation = converse({
    name,
    hello,
    crowd,
    progress: { begin: () => {}, add: () => {}, end: () => 0 },
    signal: new AbortController().signal,
    send: (message) => said.push(message),
    onSilence: () => {},
  })
  const shares = () => said.flatMap((message) => (message.type === 'share' ? [message.of] : []))
  const answer = (id: number) => conversation.heard({ type: 'result', id, value: null })
  return { conversation, said, shares, answer }
}

/** Orders are asked when those before them were answered. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('workers with orders share the limits of the run, those without are not counted', async () => {
  const crowd = openCrowd()
  const [a, b] = [talk('a', crowd), talk('b', crowd)]
  expect([a.shares(), b.shares()]).toEqual([[], []])
  const first = a.conversation.order(order('a'))
  await turn()
  expect(a.said.map(({ type }) => type)).toEqual(['hello', 'share', 'order'])
  const second = b.conversation.order(order('b'))
  await turn()
  expect([a.shares(), b.shares()]).toEqual([[1, 2], [2]])
  a.answer(1)
  await first
  expect([a.shares(), b.shares()]).toEqual([
    [1, 2],
    [2, 1],
  ])
  b.answer(1)
  await second
  a.conversation.close()
  b.conversation.close()
})

test('a worker that is gone does not share any more', async () => {
  const crowd = openCrowd()
  const counts: number[] = []
  crowd.join((count) => counts.push(count))
  const { conversation } = talk('a', crowd)
  const lost = conversation.order(order('a'))
  await turn()
  conversation.fail(new Error('gone') as never)
  await expect(lost).rejects.toThrow('gone')
  expect(counts).toEqual([1, 2, 1])
})

test('after a broken connection the worker is told its share again, before its orders', async () => {
  const { conversation, said } = talk('a')
  const asked = conversation.order(order('a'))
  await turn()
  said.length = 0
  conversation.again()
  expect(said.map(({ type }) => type)).toEqual(['hello', 'share', 'order'])
  conversation.heard({ type: 'result', id: 1, value: null })
  await asked
  said.length = 0
  conversation.again()
  expect(said.map(({ type }) => type)).toEqual(['hello'])
  conversation.close()
})
