import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { answersTo, aside } from '../../io/aside.ts'

const giving = aside<object, number, number>(new URL('../fixtures/answering-thread.ts', import.meta.url), 'gives')

/** What a thread answers to numbers, three of which are under way at once. */
async function answers(numbers: number[]): Promise<number[]> {
  const { ask, close } = giving.open({})
  const source = Readable.from(numbers)
  const given: number[] = []
  try {
    for await (const answer of answersTo(source, (number: number) => ask(number, []), 3)) given.push(answer)
  } finally {
    close()
    expect(source.destroyed).toBe(true)
  }
  return given
}

test('a thread answers in the order of the questions, to several at once', async () => {
  expect(await Promise.all([answers([1, 2, 3, 4, 5]), answers([6]), answers([])])).toEqual([[1, 2, 3, 4, 5], [6], []])
})

test('when it fails, those who wait hear why, and the next gets another one', async () => {
  const failing = answers([1, 2, 0, 3, 4, 5, 6])
  await expect(failing).rejects.toMatchObject({
    kind: 'bug',
    message: 'the thread that gives ended',
    cause: { message: 'there is nothing to give' },
  })
  expect(await answers([7, 8])).toEqual([7, 8])
})

test('who was waiting for another question hears it, too', async () => {
  const { ask, close } = giving.open({})
  expect(await ask(1, [])).toBe(1)
  await expect(answers([0])).rejects.toThrow('ended')
  await expect(ask(2, [])).rejects.toThrow('the thread that gives ended')
  close()
})
