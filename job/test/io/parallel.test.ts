import { expect, test } from 'vitest'
import { seats, together } from '../../io/parallel.ts'

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

test('seats are given to so many at once, and to the others in turn', async () => {
  const take = seats(2)
  const seated: string[] = []
  const sit = async (name: string) => {
    const leave = await take()
    seated.push(name)
    return leave
  }
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(sit)
  const leaveA = await a
  await b
  await after(1)
  expect(seated).toEqual(['a', 'b'])
  leaveA?.()
  const leaveC = await c
  await after(1)
  expect(seated).toEqual(['a', 'b', 'c'])
  leaveC?.()
  await d
  expect(seated).toEqual(['a', 'b', 'c', 'd'])
})
