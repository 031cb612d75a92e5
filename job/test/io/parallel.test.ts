import { once } from 'node:events'
import { expect, test } from 'vitest'
import { runTasks, seats, type Task, together } from '../../io/parallel.ts'

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

function recorded() {
  const said: string[] = []
  const task = (name: string, weight: number, next: Task[] = [], failure?: Error): Task => ({
    weight,
    run: async () => {
      said.push(`+${name}`)
      await after(1)
      said.push(`-${name}`)
      if (failure) throw failure
      return next
    },
  })
  return { said, task }
}

test('tasks bring others, and the heaviest is begun first', async () => {
  const { said, task } = recorded()
  const first = task('a', Infinity, [task('light', 1), task('heavy', 3, [task('middle', 2)])])
  await runTasks([first, task('b', Infinity)], 1)
  expect(said.filter((one) => one.startsWith('+'))).toEqual(['+a', '+b', '+heavy', '+middle', '+light'])
})

test('so many tasks run at once, and no more', async () => {
  const { said, task } = recorded()
  await runTasks(
    ['a', 'b', 'c', 'd'].map((name) => task(name, 1)),
    2,
  )
  let [running, most] = [0, 0]
  for (const one of said) {
    running += one.startsWith('+') ? 1 : -1
    most = Math.max(most, running)
  }
  expect(most).toBe(2)
  expect(said).toHaveLength(8)
})

test('after a task that failed nothing is begun, and what runs is awaited', async () => {
  const { said, task } = recorded()
  const tasks = [task('a', 3, [], new Error('of a')), task('b', 2, [task('never', 9)]), task('c', 1)]
  await expect(runTasks(tasks, 2)).rejects.toThrow('of a')
  expect(said).toEqual(['+a', '+b', '-a', '-b'])
})

test('a task that fails tells those that run', async () => {
  const stop = new AbortController()
  const failure = new Error('of a')
  const waits: Task = {
    weight: 1,
    run: async () => {
      await once(stop.signal, 'abort')
      throw stop.signal.reason
    },
  }
  const fails: Task = { weight: 2, run: async () => Promise.reject(failure) }
  await expect(runTasks([waits, fails], 2, stop)).rejects.toBe(failure)
  expect(stop.signal.reason).toBe(failure)
})

test('no tasks are done at once', async () => {
  await runTasks([], 3)
})
