import { afterEach, describe, expect, test, vi } from 'vitest'
import { parse, type Request, UsageError } from '../cli.ts'

const words = (line: string) => line.split(' ').filter((word) => word !== '')
const asked = (line: string) => parse(words(line), '1.2.3')

afterEach(() => {
  vi.restoreAllMocks()
})

test.each<[string, Partial<Request>]>([
  ['backup nightly', { verb: 'backup', plan: 'nightly', resume: undefined, dryRun: false }],
  ['backup nightly --resume', { verb: 'backup', resume: 'latest' }],
  ['backup nightly --resume 1795218000 --dry-run', { verb: 'backup', resume: '1795218000', dryRun: true }],
  ['restore once', { verb: 'restore', restore: 'once', backup: undefined, pick: undefined, overwrite: undefined }],
  [
    'restore once --pick 2026-11-21T03:00 --overwrite --token 7',
    { verb: 'restore', pick: '2026-11-21T03:00', overwrite: true, token: '7' },
  ],
  ['restore once --no-overwrite', { verb: 'restore', overwrite: false }],
  [
    'restore --backup nightly --source a --source b',
    { verb: 'restore', restore: undefined, backup: 'nightly', sources: ['a', 'b'] },
  ],
  ['restore once --exclude a --exclude b', { verb: 'restore', sources: undefined, exclude: ['a', 'b'] }],
  ['check nightly', { verb: 'check', plan: 'nightly' }],
  ['list', { verb: 'list', plan: undefined, storages: undefined, runs: false, last: undefined }],
  ['list nightly --runs --last 0', { verb: 'list', plan: 'nightly', runs: true, last: 0 }],
  ['list --storage a --storage b nightly', { verb: 'list', plan: 'nightly', storages: ['a', 'b'] }],
  ['show nightly', { verb: 'show', plan: 'nightly', pick: 'latest' }],
  ['show 007 0123', { verb: 'show', plan: '007', pick: '0123' }],
  ['verify nightly --all --level readable', { verb: 'verify', pick: undefined, all: true, level: 'readable' }],
  ['verify nightly', { verb: 'verify', level: 'content', sample: undefined, seed: undefined }],
  ['verify nightly --sample 5% --seed 7', { verb: 'verify', level: 'content', sample: 0.05, seed: 7 }],
  ['verify nightly --sample 0.5%', { sample: 0.005 }],
  ['prune nightly --dry-run', { verb: 'prune', plan: 'nightly', dryRun: true }],
  ['list nightly --why', { verb: 'list', plan: 'nightly', why: true, runs: false }],
  ['pin nightly 1795218000', { verb: 'pin', plan: 'nightly', id: '1795218000', note: undefined, storages: undefined }],
  ['pin nightly 007 --note audit --storage main', { id: '007', note: 'audit', storages: ['main'] }],
  ['unpin nightly 1795218000', { verb: 'unpin', plan: 'nightly', id: '1795218000', storages: undefined }],
  [
    'export nightly latest nightly.tar',
    { verb: 'export', plan: 'nightly', pick: 'latest', file: 'nightly.tar', overwrite: false, storages: undefined },
  ],
  [
    'export nightly 1795218000 - --storage main --overwrite',
    { pick: '1795218000', file: '-', overwrite: true, storages: ['main'] },
  ],
  ['import nightly.tar --storage main', { verb: 'import', file: 'nightly.tar', storage: 'main' }],
  ['import - --storage main', { verb: 'import', file: '-', storage: 'main' }],
  [
    'unpack nightly --to files',
    { verb: 'unpack', plan: 'nightly', pick: undefined, from: undefined, to: 'files', overwrite: false },
  ],
  ['unpack nightly latest --to files --storage main', { pick: 'latest', storages: ['main'] }],
  ['unpack --from - --to files', { plan: undefined, from: '-', to: 'files' }],
  [
    'unpack --from x --to files --source a --source b --only *.sql --only c/**',
    { sources: ['a', 'b'], only: ['*.sql', 'c/**'] },
  ],
  [
    'adopt nightly 1234 --storage main',
    {
      verb: 'adopt',
      plan: 'nightly',
      id: '1234',
      storage: 'main',
      decryptionSecret: undefined,
      decryptionKey: 'password',
    },
  ],
  ['worker', { verb: 'worker' }],
])('holdfast %s', async (line, request) => expect(await asked(line)).toMatchObject(request))

test('settings and output are those of the flags, wherever they stand', async () => {
  const flags = '-c a.yaml --secrets-dir /s --volumes-dir /v --tmp-dir /t --log-level debug -o json'
  for (const line of [`${flags} list`, `list ${flags}`]) {
    expect(await asked(line)).toMatchObject({
      settings: { config: 'a.yaml', secretsDir: '/s', volumesDir: '/v', tmpDir: '/t', logLevel: 'debug' },
      output: 'json',
    })
  }
})

describe('a command line that cannot be right', () => {
  test.each([
    ['', 'name a verb'],
    ['nope', 'Unknown argument: nope'],
    ['backup', 'Not enough non-option arguments'],
    ['backup a b', 'Unknown argument: b'],
    ['list --lst', 'Unknown argument: lst'],
    ['backup nightly --overwrite', 'Unknown argument: overwrite'],
    ['list --last', 'Not enough arguments following: last'],
    ['list --last x', '--last is a number of rows'],
    ['list --last -1', '--last is a number of rows'],
    ['check nightly --config', 'Not enough arguments following: config'],
    ['check nightly --config a --config b', '--config is there twice'],
    ['restore once --pick 1 --pick 2', '--pick is there twice'],
    ['restore', 'name a restore, or a plan with --backup'],
    ['restore once --backup nightly', 'mutually exclusive'],
    ['verify nightly --level deep', 'Choices: "present", "content", "readable"'],
    ['verify nightly --sample 0%', '--sample is more than 0%'],
    ['verify nightly --sample 101%', '--sample is more than 0%'],
    ['verify nightly --sample 5', '--sample is more than 0%'],
    ['verify nightly --sample -5%', '--sample is more than 0%'],
    ['verify nightly --sample 5% --level present', '--sample does not go with --level present'],
    ['verify nightly --sample 5% --seed x', '--seed is a whole number'],
    ['verify nightly --seed 7', '--seed goes with --sample'],
    ['export nightly latest', 'Not enough non-option arguments'],
    ['export nightly latest x.tar --storage', 'Not enough arguments following: storage'],
    ['import x.tar', 'Missing required argument: storage'],
    ['import x.tar --storage a --storage b', '--storage'],
    ['import --storage main', 'Not enough non-option arguments'],
    ['unpack --to files', 'name a plan, or a copy with --from'],
    ['unpack nightly', 'Missing required argument: to'],
    ['unpack nightly --from x --to files', 'mutually exclusive'],
    ['unpack --from x --storage main --to files', 'mutually exclusive'],
    ['unpack --from x --from y --to files', '--from is there twice'],
    ['list -o xml', 'Choices: "table", "json", "yaml"'],
    ['adopt nightly 1234', 'Missing required argument: storage'],
  ])('holdfast %s: %s', async (line, message) => {
    const error = await asked(line).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(UsageError)
    expect(error.message).toContain(message)
  })
})

describe('help', () => {
  async function printed(line: string): Promise<string> {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {})
    expect(await asked(line)).toBeUndefined()
    return log.mock.calls.flat().join('\n')
  }

  test('names every verb, the exit codes and where to read on, but no worker', async () => {
    const text = await printed('--help')
    const verbs = [
      'backup <plan>',
      'restore [restore]',
      'check <plan>',
      'list [plan]',
      'show <plan> [pick]',
      'verify <plan> [pick]',
      'prune <plan>',
      'adopt <plan> <id>',
      'export <plan> <pick> <file>',
      'import <file>',
      'unpack [plan] [pick]',
      'completion',
    ]
    for (const verb of verbs) expect(text).toContain(`holdfast ${verb}`)
    expect(text).toContain('24 verification failed')
    expect(text).toContain('docs/restore-by-hand.md')
    expect(text).not.toContain('worker')
  })

  test.each([
    ['backup', '--resume'],
    ['restore', '--overwrite'],
    ['list', '--runs'],
    ['verify', '--level'],
    ['prune', '--dry-run'],
    ['adopt', '--decryption-secret'],
    ['export', '--overwrite'],
    ['import', '--storage'],
    ['unpack', '--from'],
  ])('of %s has %s', async (verb, flag) => expect(await printed(`${verb} --help`)).toContain(flag))

  test('the version is that of the job', async () => expect(await printed('--version')).toBe('1.2.3'))

  test('completion is a script for the shell', async () => {
    expect(await printed('completion')).toContain('holdfast')
  })
})
