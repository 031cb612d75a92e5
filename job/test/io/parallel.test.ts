import { expect, test } from 'vitest'
import { together } from '../../io/parallel.ts'

const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

test('together gives the results in their order', async () => {
  expect(await together([after(5).then(() => 'slow'), Promise.resolve(2)])).toEqual(['slow', 2])
})

test('together awaits all, and throws the first failure in their order', async () => {
  let ended = false
  const slow = after(5).then(() => {
    ended = true
    throw new Error('the first')
  })
  const works = together([slow, Promise.reject(new Error('the faster'))])
  await expect(works).rejects.toThrow('the first')
  expect(ended).toBe(true)
})
