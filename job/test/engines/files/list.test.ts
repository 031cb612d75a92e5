import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { expect, test, vi } from 'vitest'
import { formatLine, type Listed, readList } from '../../../engines/files/list.ts'
import { verified } from '../../../io/pipeline.ts'
import { patiently } from '../../patience.ts'

const members = ['', 'grüße', 'ordner/naïve €', 'latin1: \xe9'].map((name, i): Listed => {
  const path = i === 3 ? name : Buffer.from(name).toString('latin1')
  return {
    path,
    type: i === 0 ? 'folder' : 'file',
    mode: 0o644,
    uid: 1,
    gid: 2,
    size: i,
    mtime: `${1_795_000_000 + i}.25`,
  }
})

test('a list comes back, also when all of it waited already, in pieces that cut letters', async () => {
  const bytes = Buffer.from(members.map(formatLine).join(''))
  const part = { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  for (const length of [1, 7, bytes.length]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / length) }, (_, i) =>
      bytes.subarray(i * length, (i + 1) * length),
    )
    const stream = verified(Readable.from(pieces, { objectMode: false }), { content: part, where: 'the list' })
    await vi.waitFor(() => expect(stream.readableLength).toBeGreaterThan(0), patiently)
    expect(await Array.fromAsync(readList(stream))).toEqual(members)
  }
})
