import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { JobError } from '../../errors.ts'
import type { Manifest } from '../../manifest.ts'
import type { Storage } from '../../storage.ts'
import { memoryStore, putBackup, putText, reset, signal, storages, textAt } from './store.ts'

const id = '1795218000'
const at = (path: string) => `nightly/${id}/${path}`
const parts = {
  'users.sql': 'create user a;\n',
  'rondb/1/x.Data': 'rows of node 1'.repeat(500),
  'rondb/2/x.Data': 'rows of node 2'.repeat(500),
  empty: '',
}

describe.each(storages)('over $kind', ({ open }) => {
  let storage: Storage
  let end: () => Promise<void>
  let manifest: Manifest

  beforeEach(async () => {
    const opened = await open()
    storage = opened.storage
    end = opened.end
    manifest = await putBackup(storage, id, parts)
    await putText(storage, at('facts-rondb.json'), '{}')
    await putText(storage, at('rondb/1/parts.json'), '[]')
  })
  afterEach(() => end())

  const problemsAt = async (level: 'present' | 'content') => {
    const { problems } = await openCatalog({ storage, plan: 'nightly' }).verify(manifest, { level, signal })
    return problems.map(({ path, kind }) => `${path} ${kind}`)
  }

  test('an intact backup has no problems and nothing unexpected', async () => {
    for (const level of ['present', 'content'] as const) {
      const verified = await openCatalog({ storage, plan: 'nightly' }).verify(manifest, { level, signal })
      const bytes = Object.values(parts).join('').length
      const read = level === 'present' ? { parts: 0, bytes: 0 } : { parts: 4, bytes }
      expect(verified).toEqual({ problems: [], extra: [], parts: 4, bytes, read })
    }
  })

  test('one flipped bit is found by reading', async () => {
    const text = await textAt(storage, at('rondb/1/x.Data'))
    await putText(storage, at('rondb/1/x.Data'), `${text.slice(0, 3000)}${flip(text[3000])}${text.slice(3001)}`)
    expect(await problemsAt('present')).toEqual([])
    expect(await problemsAt('content')).toEqual(['rondb/1/x.Data content'])
  })

  test('a truncated part is found without reading', async () => {
    await putText(storage, at('rondb/1/x.Data'), parts['rondb/1/x.Data'].slice(0, -1))
    expect(await problemsAt('present')).toEqual(['rondb/1/x.Data size'])
    expect(await problemsAt('content')).toEqual(['rondb/1/x.Data size'])
  })

  test('a missing part is found without reading', async () => {
    await storage.delete([at('empty')])
    expect(await problemsAt('present')).toEqual(['empty missing'])
  })

  test('a swapped pair is found by reading, both', async () => {
    await putText(storage, at('rondb/1/x.Data'), parts['rondb/2/x.Data'])
    await putText(storage, at('rondb/2/x.Data'), parts['rondb/1/x.Data'])
    expect(await problemsAt('present')).toEqual([])
    expect(await problemsAt('content')).toEqual(['rondb/1/x.Data content', 'rondb/2/x.Data content'])
  })

  test('all problems are told, in the order of the manifest', async () => {
    await storage.delete([at('users.sql')])
    await putText(storage, at('rondb/1/x.Data'), 'short')
    await putText(storage, at('rondb/2/x.Data'), parts['rondb/1/x.Data'])
    await putText(storage, at('empty'), 'not empty')
    expect(await problemsAt('content')).toEqual([
      'users.sql missing',
      'rondb/1/x.Data size',
      'rondb/2/x.Data content',
      'empty size',
    ])
  })

  test('what the manifest does not know is noted and no problem', async () => {
    await putText(storage, at('rondb/3/x.Data'), 'x')
    const verified = await openCatalog({ storage, plan: 'nightly' }).verify(manifest, { level: 'content', signal })
    expect(verified).toMatchObject({ problems: [], extra: ['rondb/3/x.Data'] })
  })
})

test('presence takes one listing, content one read a part', async () => {
  const store = memoryStore()
  const manifest = await putBackup(store, id, parts)
  const catalog = openCatalog({ storage: store, plan: 'nightly' })
  store.calls = []
  await catalog.verify(manifest, { level: 'present', signal })
  expect(store.calls).toEqual([`list nightly/${id}/`])
  await catalog.verify(manifest, { level: 'content', signal })
  expect(store.calls).toHaveLength(6)
})

test('never more than 4 parts are read at once', async () => {
  const store = memoryStore()
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`p${i}`, 'x']))
  const manifest = await putBackup(store, id, many)
  let open = 0
  let most = 0
  store.before = async (call) => {
    if (!call.startsWith('get')) return
    most = Math.max(most, ++open)
    await new Promise((resolve) => setTimeout(resolve, 1))
    open--
  }
  await openCatalog({ storage: store, plan: 'nightly' }).verify(manifest, { level: 'content', signal })
  expect(most).toBe(4)
})

test('bytes are counted while they are read', async () => {
  const store = memoryStore()
  const manifest = await putBackup(store, id, parts)
  let bytes = 0
  const progress = (count: number) => {
    bytes += count
  }
  await openCatalog({ storage: store, plan: 'nightly' }).verify(manifest, { level: 'content', signal, progress })
  expect(bytes).toBe(Object.values(parts).join('').length)
})

test('a part that the storage cannot give is unreadable, and the others are still checked', async () => {
  const store = memoryStore()
  const manifest = await putBackup(store, id, parts)
  await putText(store, at('rondb/2/x.Data'), parts['rondb/1/x.Data'])
  store.before = (call) => {
    if (call === `get ${at('users.sql')}`) throw reset()
  }
  const { problems } = await openCatalog({ storage: store, plan: 'nightly' }).verify(manifest, {
    level: 'content',
    signal,
  })
  expect(problems).toMatchObject([
    { path: 'users.sql', kind: 'unreadable', says: 'cannot be read: connection reset' },
    { path: 'rondb/2/x.Data', kind: 'content' },
  ])
})

test('a run that is ended stops verifying', async () => {
  const store = memoryStore()
  const manifest = await putBackup(store, id, parts)
  const run = new AbortController()
  store.before = (call) => {
    if (call.startsWith('get')) run.abort(new JobError('terminated', 'ended by SIGTERM'))
  }
  const verify = openCatalog({ storage: store, plan: 'nightly' }).verify(manifest, {
    level: 'content',
    signal: run.signal,
  })
  await expect(verify).rejects.toMatchObject({ kind: 'terminated' })
})

function flip(letter = ''): string {
  return String.fromCharCode(letter.charCodeAt(0) ^ 1)
}
