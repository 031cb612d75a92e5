import { describe, expect, test } from 'vitest'
import { bufferPool } from '../../storages/buffers.ts'

const never = new AbortController().signal
const settled = async <T>(promise: Promise<T>) =>
  await Promise.race([promise, new Promise<'waits'>((resolve) => setImmediate(() => resolve('waits')))])

describe('buffer pool', () => {
  test('gives no more than its budget, and serves who waits in order', async () => {
    const pool = bufferPool(30)
    const [first, second, third] = await Promise.all([pool.take(10, never), pool.take(10, never), pool.take(10, never)])
    const order: number[] = []
    const waiting = [1, 2].map((number) => pool.take(10, never).then(() => order.push(number)))
    expect(await settled(Promise.all(waiting))).toBe('waits')
    pool.give(second)
    pool.give(third)
    await Promise.all(waiting)
    expect(order).toEqual([1, 2])
    expect(first).toHaveLength(10)
  })

  test('gives the same memory again', async () => {
    const pool = bufferPool(10)
    const first = await pool.take(10, never)
    pool.give(first)
    expect(await pool.take(10, never)).toBe(first)
  })

  test('lets nobody small overtake who waits for much', async () => {
    const pool = bufferPool(30)
    const first = await pool.take(20, never)
    const large = pool.take(30, never)
    const small = pool.take(10, never)
    expect(await settled(small)).toBe('waits')
    pool.give(first)
    pool.give(await large)
    expect(await small).toHaveLength(10)
  })

  test('serves one that is larger than the budget, alone', async () => {
    const pool = bufferPool(10)
    const large = await pool.take(15, never)
    expect(await settled(pool.take(1, never))).toBe('waits')
    pool.give(large)
  })

  test('who gives up waiting does not hold the others', async () => {
    const pool = bufferPool(10)
    const first = await pool.take(6, never)
    const stop = new AbortController()
    const large = pool.take(10, stop.signal)
    const small = pool.take(4, never)
    expect(await settled(small)).toBe('waits')
    stop.abort(new Error('stop'))
    await expect(large).rejects.toThrow('stop')
    expect(await small).toHaveLength(4)
    await expect(pool.take(1, stop.signal)).rejects.toThrow('stop')
    pool.give(first)
    expect(await pool.take(6, never)).toBe(first)
  })
})
