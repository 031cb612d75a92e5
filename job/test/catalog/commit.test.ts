import { describe, expect, test } from 'vitest'
import { openCatalog } from '../../catalog/catalog.ts'
import { JobError, ObjectError } from '../../errors.ts'
import { formatManifest } from '../../manifest.ts'
import { manifestOf, memoryStore, reset, type Store, signal, textAt } from './store.ts'

const key = 'nightly/1795218000.json'
const manifest = manifestOf('1795218000')
const bytes = formatManifest(manifest)
const other = formatManifest(manifestOf('1795218000', { jobVersion: '9.9.9' }))

function commitTo(store: Store, waits = [0, 0, 0]): Promise<void> {
  return openCatalog({ storage: store, plan: 'nightly', waits }).commit(manifest, signal)
}

async function failureOf(promise: Promise<unknown>): Promise<JobError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(JobError)
  return error as JobError
}

/** Fails the given calls of one operation, counted from 1. */
function failing(operation: string, calls: number[], make: () => unknown): (call: string) => void {
  let count = 0
  return (call) => {
    if (call.startsWith(operation) && calls.includes(++count)) throw make()
  }
}

describe.each([true, false])('with conditionalPut %s', (conditionalPut) => {
  test('a commit stores exactly the manifest', async () => {
    const store = memoryStore({ conditionalPut })
    await commitTo(store)
    expect(store.objects.get(key)).toEqual(bytes)
  })

  test('another manifest under the key stays as it is, and the commit fails', async () => {
    const store = memoryStore({ conditionalPut })
    store.objects.set(key, other)
    const error = await failureOf(commitTo(store))
    expect(error).toMatchObject({
      kind: 'storage',
      message: "storage main holds another backup's manifest at nightly/1795218000.json",
    })
    expect(store.objects.get(key)).toEqual(other)
  })

  test('the same manifest under the key is success', async () => {
    const store = memoryStore({ conditionalPut })
    store.objects.set(key, bytes)
    await commitTo(store)
    expect(store.objects.get(key)).toEqual(bytes)
  })

  test('a lost answer is no failure', async () => {
    const store = memoryStore({ conditionalPut })
    store.after = failing('put', [1], reset)
    await commitTo(store)
    expect(store.objects.get(key)).toEqual(bytes)
  })

  test('a lost answer that leaves the read back failing as well is tried again', async () => {
    const store = memoryStore({ conditionalPut })
    store.after = failing('put', [1], reset)
    store.before = failing('get', [1], reset)
    await commitTo(store)
    expect(store.objects.get(key)).toEqual(bytes)
  })

  test('a failure that may pass is tried again', async () => {
    const store = memoryStore({ conditionalPut })
    store.before = failing('put', [1, 2], reset)
    await commitTo(store)
    expect(store.objects.get(key)).toEqual(bytes)
  })

  test('a failure that does not pass is an error, and nothing is there', async () => {
    const store = memoryStore({ conditionalPut })
    store.before = failing('put', [1, 2, 3, 4, 5], reset)
    const error = await failureOf(commitTo(store))
    expect(error).toMatchObject({ kind: 'storage', message: `${key} could not be written to storage main` })
    expect(error.cause).toMatchObject({ message: 'connection reset' })
    expect(store.objects.size).toBe(0)
    expect(store.calls.filter((call) => call.startsWith('put'))).toHaveLength(4)
  })

  test('a refusal is not tried again', async () => {
    const store = memoryStore({ conditionalPut })
    store.before = failing('put', [1], () => new JobError('storage', 'access denied'))
    await failureOf(commitTo(store))
    expect(store.calls.filter((call) => call.startsWith('put'))).toHaveLength(1)
  })

  test('when nobody can tell, the error says that the backup may be there', async () => {
    const store = memoryStore({ conditionalPut })
    store.after = failing('put', [1, 2, 3, 4], reset)
    store.before = failing('get', [1, 2, 3, 4], reset)
    const error = await failureOf(commitTo(store))
    expect(error.message).toContain('may have been written to storage main')
    expect(error.hint).toContain('holdfast list')
    expect(store.objects.get(key)).toEqual(bytes)
  })

  test('an answer lost while the run is ended is no failure either', async () => {
    const store = memoryStore({ conditionalPut })
    const run = new AbortController()
    store.after = (call) => {
      if (!call.startsWith('put')) return
      run.abort(new JobError('terminated', 'ended by SIGTERM'))
      throw run.signal.reason
    }
    await openCatalog({ storage: store, plan: 'nightly' }).commit(manifest, run.signal)
    expect(store.objects.get(key)).toEqual(bytes)
  })

  test('a run ended before its commit got through ends as ended', async () => {
    const store = memoryStore({ conditionalPut })
    const run = new AbortController()
    store.before = (call) => {
      if (call.startsWith('put')) run.abort(new JobError('terminated', 'ended by SIGTERM'))
    }
    const error = await failureOf(openCatalog({ storage: store, plan: 'nightly' }).commit(manifest, run.signal))
    expect(error.kind).toBe('terminated')
    expect(store.objects.size).toBe(0)
  })

  test('a run that was ended makes no further try', async () => {
    const store = memoryStore({ conditionalPut })
    const run = new AbortController()
    store.before = (call) => {
      if (!call.startsWith('put')) return
      run.abort(new JobError('terminated', 'ended by SIGTERM'))
      throw reset()
    }
    await failureOf(openCatalog({ storage: store, plan: 'nightly', waits: [0, 0] }).commit(manifest, run.signal))
    expect(store.calls.filter((call) => call.startsWith('put'))).toHaveLength(1)
  })

  test('nothing is ever deleted', async () => {
    for (const faults of [[1], [1, 2, 3, 4, 5]]) {
      const store = memoryStore({ conditionalPut })
      store.after = failing('put', faults, reset)
      await commitTo(store).catch(() => undefined)
      expect(store.calls.filter((call) => call.startsWith('delete'))).toEqual([])
    }
  })
})

test('a writer that comes between head and put is noticed', async () => {
  const store = memoryStore({ conditionalPut: false })
  store.after = (call) => {
    if (call.startsWith('put')) store.objects.set(key, other)
  }
  const error = await failureOf(commitTo(store))
  expect(error.message).toContain("another backup's manifest")
})

test('an object that exists and is gone a moment later is tried again', async () => {
  const store = memoryStore()
  store.before = failing('put', [1], () => new ObjectError('ObjectExists', key))
  await commitTo(store)
  expect(await textAt(store, key)).toBe(bytes.toString('utf8'))
})
