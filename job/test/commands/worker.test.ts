import { PassThrough } from 'node:stream'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { worker } from '../../commands/worker.ts'
import { heartbeatMs, silenceMs } from '../../io/protocol.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

/** Its input stays open whatever happens, as that of a pod does. */
function start() {
  const input = new PassThrough()
  const output = new PassThrough().resume()
  const ended = vi.fn()
  const life = worker({ input, output, log: pino({ level: 'silent' }), signal: new AbortController().signal }).then(
    ended,
  )
  return { input, ended, life }
}

test('a worker that hears nothing for a minute ends, though its input stays open', async () => {
  const { life } = start()
  await vi.advanceTimersByTimeAsync(silenceMs + 2 * heartbeatMs)
  await life
})

test('a worker stays as long as it hears a heartbeat now and then', async () => {
  const { input, ended, life } = start()
  for (let minute = 0; minute < 5; minute++) {
    await vi.advanceTimersByTimeAsync(silenceMs - heartbeatMs)
    input.write('{"type":"heartbeat"}\n')
  }
  expect(ended).not.toHaveBeenCalled()
  input.end()
  await life
})
