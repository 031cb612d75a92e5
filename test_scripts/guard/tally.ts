/** What was tried, and what came of it. */

import { setTimeout as pause } from 'node:timers/promises'
import { ApiException } from '@kubernetes/client-node'

export const tally = { passed: 0, failed: 0 }

export async function allowed(title: string, request: () => Promise<unknown>): Promise<void> {
  const said = await answer(request)
  told(title, said === 'done', said)
}

export async function refused(title: string, message: RegExp, request: () => Promise<unknown>): Promise<void> {
  const said = await answer(request)
  told(title, message.test(said), said)
}

/** In any order, and each as often as it is expected. */
export function same<T>(title: string, found: T[], expected: T[]): void {
  const more = without(found, expected)
  const less = without(expected, found)
  told(title, more.length + less.length === 0, `more: ${more.join(', ')}; less: ${less.join(', ')}`)
}

/** What is left of a list when another is taken away, one for one. */
function without<T>(list: T[], taken: T[]): T[] {
  const rest = [...taken]
  return list.filter((one) => {
    const found = rest.indexOf(one)
    if (found >= 0) rest.splice(found, 1)
    return found < 0
  })
}

function told(title: string, good: boolean, said: string): void {
  tally[good ? 'passed' : 'failed'] += 1
  console.log(good ? `ok      ${title}` : `FAILED  ${title}: ${said}`)
}

/** `done`, or what the API server said against it. */
export async function answer(request: () => Promise<unknown>): Promise<string> {
  try {
    await request()
    return 'done'
  } catch (error) {
    if (error instanceof ApiException) return JSON.parse(String(error.body)).message
    return error instanceof Error ? error.message : String((error as { message?: unknown }).message ?? error)
  }
}

export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited a minute: ${what}`)
    await pause(200)
  }
}
