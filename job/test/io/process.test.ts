import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { JobError } from '../../errors.ts'
import { lending, lendingItsOwn } from '../../io/lending.ts'
import { consume, lastLines, output, run } from '../../io/process.ts'
import { patiently } from '../patience.ts'

const file = join(import.meta.dirname, '../bin/talker')
const signal = new AbortController().signal
const trailer = /-- Dump completed.*\s*$/

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-process-'))
})
afterAll(() => rm(folder, { recursive: true }))

describe('a program that is run', () => {
  test('gives its output and its exit code, which the caller judges', async () => {
    expect(await run({ file, args: ['whole'], signal })).toMatchObject({ exitCode: 0, stderr: '' })
    const failed = await run({ file, args: ['fails'], signal })
    expect(failed).toMatchObject({ exitCode: 2, stdout: 'some output\n' })
    expect(failed.stderr.split('\n')).toHaveLength(7)
  })

  test('that was killed has not ended well', async () => {
    expect((await run({ file, args: ['killed'], signal })).exitCode).not.toBe(0)
  })

  test('gives each line as it comes, and keeps only the end of what it said', async () => {
    const lines: string[] = []
    const { stdout } = await run({ file, args: ['much'], signal }, { keep: 100, onLine: (line) => lines.push(line) })
    expect(lines).toHaveLength(20_001)
    expect(lines[7]).toBe('line 7 of very many lines of output')
    expect(stdout).toHaveLength(100)
    expect(stdout.endsWith('-- Dump completed\n')).toBe(true)
  })

  test('that ends before it read its input is no error of ours', async () => {
    expect((await run({ file, args: ['whole'], signal, input: 'x'.repeat(1_000_000) })).exitCode).toBe(0)
  })

  test.each<[string, () => Promise<string>]>([
    ['that is not there', async () => '/nowhere/mysqldump'],
    ['that is not on the PATH', async () => 'mysqldump-of-nobody'],
    [
      'that may not be started',
      async () => {
        const plain = join(folder, 'mysqldump')
        await writeFile(plain, '#!/bin/sh\n', { mode: 0o644 })
        return plain
      },
    ],
  ])('%s is a matter of configuration, with a hint', async (_, place) => {
    const program = { file: await place(), args: [], signal }
    const wanted = {
      kind: 'configuration',
      hint: expect.stringMatching(/install mysqldump\S*, or say where it is with `clients`/),
    }
    await expect(run(program)).rejects.toMatchObject(wanted)
    await expect(text(output(program, trailer))).rejects.toMatchObject(wanted)
  })
})

describe('the output of a program as a stream', () => {
  test('ends when the program ended well and its trailer is there', async () => {
    expect(await text(output({ file, args: ['whole'], signal }, trailer))).toContain('CREATE TABLE')
    expect((await text(output({ file, args: ['much'], signal }, trailer))).split('\n')).toHaveLength(20_002)
  })

  test.each([
    ['is silently short', 'short', 'talker ended without saying that its output is complete'],
    ['died after its last byte', 'late', 'talker ended with 3: Lost connection'],
    ['failed', 'fails', 'talker ended with 2: trouble 3 \u00b7 trouble 4 \u00b7 trouble 5 \u00b7 trouble 6'],
    ['was killed', 'killed', 'talker ended with SIGKILL: it said nothing'],
  ])('errors when the program %s', async (_, how, message) => {
    await expect(text(output({ file, args: [how], signal }, trailer))).rejects.toMatchObject({
      kind: 'server',
      message,
    })
  })
})

describe('the output of a program that nobody reads yet', () => {
  const size = 8 * 1024 * 1024
  /** Of a program that ends when all that it wrote was taken in. */
  const begin = (burst: { burst?: number }) => {
    const args = ['-c', `dd if=/dev/zero bs=${size} count=1 status=none; echo all >&2`]
    const taken = vi.fn<(line: string) => void>()
    return { stream: output({ file: '/bin/sh', args, signal, onError: taken, ...burst }), taken }
  }

  test('is taken in as far as was said', async () => {
    // a pipe may give less at a time than it could
    const { stream, taken } = begin({ burst: 8 * size })
    await vi.waitFor(() => expect(taken).toHaveBeenCalledWith('all'), patiently)
    expect((await text(stream)).length).toBe(size)
  })

  test('holds the program back from 1 MiB on unless told', async () => {
    const { stream, taken } = begin({})
    await vi.waitFor(() => expect(stream.readableLength).toBe(16), patiently)
    expect(taken).not.toHaveBeenCalled()
    expect((await text(stream)).length).toBe(size)
    await vi.waitFor(() => expect(taken).toHaveBeenCalledWith('all'), patiently)
  })
})

describe('the output of a program in loans', () => {
  async function* lent(how: string) {
    yield* output({ file, args: [how], signal }, trailer).loans()
  }

  test('is the same, and no loan keeps its memory', async () => {
    let said = ''
    const loans: Buffer[] = []
    for await (const loan of lent('much')) {
      said += loan
      loans.push(loan)
    }
    expect(said.split('\n')).toHaveLength(20_002)
    expect(loans.map((loan) => loan.length)).toEqual(loans.map(() => 0))
  })

  test.each(['short', 'late', 'fails', 'killed'])('errors when the program is %s', async (how) => {
    await expect(Array.fromAsync(lent(how))).rejects.toMatchObject({ kind: 'server' })
  })

  test('that nobody reads on ends its program', async () => {
    const stream = output({ file: '/bin/sh', args: ['-c', 'echo $$; exec sleep 600'], signal })
    let pid = 0
    for await (const loan of stream.loans()) {
      pid = Number(String(loan))
      break
    }
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), patiently)
  })
})

describe('an abort', () => {
  /** Aborts as soon as the program says that it is ready. */
  function aborting(args: string[]): Promise<unknown> {
    const stop = new AbortController()
    const onLine = () => stop.abort(new Error('stopped'))
    return run({ file, args, signal: stop.signal, graceMs: 50 }, { onLine })
  }

  test('ends a program that hangs', async () => {
    await expect(aborting(['hangs'])).rejects.toThrow('stopped')
  })

  test('lets a program clean up', async () => {
    const note = join(folder, 'term')
    const stop = new AbortController()
    const onLine = () => stop.abort(new Error('stopped'))
    await expect(run({ file, args: ['obeys', note], signal: stop.signal }, { onLine })).rejects.toThrow('stopped')
    expect(await readFile(note, 'utf8')).toBe('term\n')
  })

  test('kills a program that does not listen', async () => {
    await expect(aborting(['stubborn'])).rejects.toThrow('stopped')
  })

  test('errors a stream that waits for more', async () => {
    const stop = new AbortController()
    const stream = output({ file, args: ['hangs'], signal: stop.signal, graceMs: 50 }, trailer)
    stream.once('data', () => stop.abort(new Error('stopped')))
    await expect(stream.toArray()).rejects.toThrow('stopped')
  })

  test('that came before keeps a program from running', async () => {
    const note = join(folder, 'never')
    await expect(run({ file, args: ['obeys', note], signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow(
      'stopped',
    )
  })
})

test('secrets reach a program by standard input and by files without a name, not by arguments nor on a disk', async () => {
  vi.stubEnv('TMPDIR', await mkdtemp(join(folder, 'tmp-')))
  const files = ['password="hunter2"\n', 'certificate']
  const { stdout } = await run({ file, args: ['tells'], signal, input: 'swordfish', files })
  const [input, first, second, args, ...listed] = stdout.trimEnd().split('\n')
  expect([input, first, second]).toEqual(['swordfish', 'password="hunter2"', 'certificate'])
  expect(args).toMatch(/talker tells$/)
  expect(listed).toEqual([])
  expect(await readdir(tmpdir())).toEqual([])
  vi.unstubAllEnvs()
})

test.each([
  ['', 'it said nothing'],
  ['one\n', 'one'],
  ['1\n2\n 3\n4\n5\n', '2 \u00b7 3 \u00b7 4 \u00b7 5'],
])('the last lines of %j are %j', (said, expected) => expect(lastLines(said)).toBe(expected))

async function* piecesIn(stream: Readable): AsyncGenerator<Buffer> {
  yield* stream
}

describe('a program that is fed', () => {
  const sink = (script: string) => ({ file: '/bin/sh', args: ['-c', script], signal })

  test('gets all of a stream, and gives what it said', async () => {
    const source = Readable.from([Buffer.alloc(3_000_000, 'x'), Buffer.from('end')])
    expect(await consume(sink('wc -c; echo done >&2'), source)).toEqual({ stdout: '3000003\n', stderr: 'done\n' })
  })

  test('whose stream fails is killed before it can take the end for the whole', async () => {
    const source = Readable.from(
      (async function* () {
        yield 'first half'
        throw new JobError('verification', 'the part is cut')
      })(),
    )
    const said = join(folder, 'said')
    await expect(consume(sink(`cat >/dev/null; echo whole >'${said}'`), source)).rejects.toThrow('the part is cut')
    await expect(readFile(said)).rejects.toThrow('ENOENT')
  })

  test.each([
    ['says why', 'head -c 10 >/dev/null; echo "table is full" >&2; exit 3', /sh ended with 3: table is full/],
    ['says that all is well', 'head -c 10 >/dev/null; exit 0', /sh did not get all of its input/],
  ])('that gives up in the middle and %s has failed', async (_, script, says) => {
    const endless = new Readable({
      read() {
        this.push(Buffer.alloc(65_536))
      },
    })
    await expect(consume(sink(script), endless)).rejects.toThrow(says)
    expect(endless.destroyed).toBe(true)
  })

  test('gets what is lent, one piece after the other', async () => {
    async function* loans() {
      for (const letter of 'abc') {
        const loan = Buffer.alloc(400_000, letter)
        yield loan
        loan.fill('x')
      }
    }
    const { stdout } = await consume(sink('tr -d x | wc -c'), lending(loans()))
    expect(stdout).toBe('1200000\n')
  })

  test.each([
    ['lends', (silent: Readable) => lendingItsOwn(piecesIn(silent), silent)],
    ['flows', (silent: Readable) => silent],
  ])('that ends before a silent source that %s has failed', async (_, open) => {
    const silent = new Readable({ read() {} })
    silent.push('a little')
    await expect(consume(sink('head -c 1 >/dev/null; echo enough >&2; exit 3'), open(silent))).rejects.toThrow(
      /sh ended with 3: enough/,
    )
    expect(silent.destroyed).toBe(true)
  })

  test('that is not there is a matter of configuration', async () => {
    const program = { file: '/nowhere/mysql', args: [], signal }
    await expect(consume(program, Readable.from(['x']))).rejects.toMatchObject({ kind: 'configuration' })
  })
})

test('an output that nobody wants any more ends its program', async () => {
  const stream = output({ file: '/bin/sh', args: ['-c', 'echo $$; exec sleep 600'], signal })
  const pid = Number(String((await stream[Symbol.asyncIterator]().next()).value))
  stream.destroy()
  await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), patiently)
})
