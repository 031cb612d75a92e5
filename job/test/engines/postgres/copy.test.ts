import { Writable } from 'node:stream'
import type { Connection } from 'pg'
import { expect, test } from 'vitest'
import { CopyIn } from '../../../engines/postgres/copy.ts'

/** A connection that keeps what is written to it; `fail` makes its socket break. */
function connection() {
  const sent: Buffer[] = []
  const asked: string[] = []
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      sent.push(Buffer.from(chunk))
      done()
    },
  })
  stream.on('error', () => {})
  const made = { stream, query: (text: string) => asked.push(text) } as unknown as Connection
  return { made, asked, sent: () => Buffer.concat(sent), fail: () => stream.destroy(new Error('EPIPE')) }
}

function begun() {
  const server = connection()
  const copy = new CopyIn('COPY t (id) FROM stdin')
  copy.submit(server.made)
  copy.handleCopyInResponse()
  return { copy, ...server }
}

test('rows go as messages of the protocol, after the server said that it takes them', async () => {
  const { made, asked, sent } = connection()
  const copy = new CopyIn('COPY t (id) FROM stdin')
  copy.submit(made)
  expect(asked).toEqual(['COPY t (id) FROM stdin'])
  const written = copy.write(Buffer.from('1\n22\n'))
  await Promise.resolve()
  expect(sent()).toHaveLength(0)
  copy.handleCopyInResponse()
  await written
  expect(sent()).toEqual(Buffer.from('d\0\0\0\x091\n22\n', 'latin1'))
  const ended = copy.end()
  await expect.poll(() => sent().subarray(-5)).toEqual(Buffer.from('c\0\0\0\x04', 'latin1'))
  copy.handleCommandComplete({ text: 'COPY 2' })
  copy.handleReadyForQuery()
  expect(await ended).toBe(2)
})

test("what comes after the server's error is not sent, and told of the error", async () => {
  const { copy, sent } = begun()
  await copy.write(Buffer.from('1\n'))
  copy.handleError(new Error('no such row'))
  copy.handleReadyForQuery()
  await expect(copy.write(Buffer.from('2\n'))).rejects.toThrow('no such row')
  await expect(copy.end()).rejects.toThrow('no such row')
  expect(sent()).toHaveLength(7)
})

test('a statement that the server refuses is told to whoever writes, and to whoever ends', async () => {
  for (const use of [(copy: CopyIn) => copy.write(Buffer.from('1\n')), (copy: CopyIn) => copy.end()]) {
    const copy = new CopyIn('COPY nowhere FROM stdin')
    copy.submit(connection().made)
    const used = use(copy)
    copy.handleError(new Error('does not exist'))
    await expect(used).rejects.toThrow('does not exist')
  }
})

test('a socket that breaks ends the writing with what the server said last', async () => {
  const { copy, fail } = begun()
  fail()
  const written = copy.write(Buffer.from('1\n'))
  copy.handleError(new Error('terminating connection'))
  await expect(written).rejects.toThrow('terminating connection')
})

test('a statement that takes no rows does not wait for them', async () => {
  const copy = new CopyIn('SELECT 1')
  copy.submit(connection().made)
  const written = copy.write(Buffer.from('1\n'))
  copy.handleCommandComplete({ text: 'SELECT 1' })
  copy.handleReadyForQuery()
  await expect(written).rejects.toThrow('takes no rows')
})
