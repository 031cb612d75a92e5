import { describe, expect, test } from 'vitest'
import { persist } from '../../../engines/redis/persist.ts'
import type { Reply } from '../../../engines/redis/protocol.ts'
import { RefusedError, type Wire } from '../../../engines/redis/wire.ts'

const signal = new AbortController().signal

/** A server that answers so; what it has no answer for, it refuses. */
function serverOf(answers: Record<string, Reply>) {
  const asked: string[] = []
  const wire = {
    server: 'cache:6379',
    ask: async (...args: unknown[]) => {
      const command = args.join(' ')
      asked.push(command)
      const answer = Object.entries(answers).find(([name]) => command.startsWith(name))?.[1]
      if (answer === undefined) throw new RefusedError('cache:6379', `${args[0]}`, `NOPERM no right to ${args[0]}`)
      return answer
    },
  } as unknown as Wire
  const warnings: string[] = []
  const done = () => persist(wire, { signal, warn: (text) => void warnings.push(text) })
  const changed = () => asked.filter((command) => /^(WAITAOF|BG)/.test(command)).map((command) => command.split(' ')[0])
  return { done, changed, warnings }
}

function info(lines: Record<string, string | number>): string {
  const all = { aof_enabled: 1, aof_last_write_status: 'ok', aof_last_bgrewrite_status: 'ok', ...lines }
  return Object.entries(all)
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join('')
}

describe('what was restored is on the disk', () => {
  test('when the append-only file is synced: it is not written anew', async () => {
    const { done, changed } = serverOf({ INFO: info({}), 'CONFIG GET': ['appendfsync', 'everysec'], WAITAOF: [1, 0] })
    expect([await done(), changed()]).toEqual(['append-only file', ['WAITAOF']])
  })

  test.each([
    ['does not know the question', {}, ['WAITAOF', 'BGREWRITEAOF']],
    ['has not synced it for long', { WAITAOF: [0, 0] }, ['WAITAOF', 'BGREWRITEAOF']],
    ['never syncs', { 'CONFIG GET': ['appendfsync', 'no'] }, ['BGREWRITEAOF']],
  ])('when the file was written anew, by a server that %s', async (_, answers, expected) => {
    const { done, changed } = serverOf({ INFO: info({}), BGREWRITEAOF: 'started', ...answers })
    expect([await done(), changed()]).toEqual(['append-only file', expected])
  })

  test.each([
    ['aof_last_write_status', { WAITAOF: [1, 0] }],
    ['aof_last_bgrewrite_status', { BGREWRITEAOF: 'started' }],
  ])('or it fails: %s', async (status, answers) => {
    const { done } = serverOf({ INFO: info({ [status]: 'err' }), ...answers })
    await expect(done()).rejects.toThrow(`${status} is err`)
  })

  test('as a snapshot, where there is no append-only file; with neither, that is a warning', async () => {
    const none = info({ aof_enabled: 0, rdb_last_bgsave_status: 'ok' })
    const saving = serverOf({ INFO: none, 'CONFIG GET': ['save', '3600 1'], BGSAVE: 'started' })
    expect([await saving.done(), saving.changed()]).toEqual(['snapshot', ['BGSAVE']])
    const silent = serverOf({ INFO: none, BGSAVE: 'started' })
    expect([await silent.done(), silent.changed()]).toEqual(['snapshot', ['BGSAVE']])
    const careless = serverOf({ INFO: none, 'CONFIG GET': ['save', ''] })
    expect([await careless.done(), careless.changed(), careless.warnings.length]).toEqual(['memory only', [], 1])
  })
})
