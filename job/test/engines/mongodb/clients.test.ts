import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { toolVersion } from '../../../engines/mongodb/clients.ts'
import { refuseOlder } from '../../../engines/mongodb/server.ts'

let clients: string

beforeEach(async () => {
  clients = await mkdtemp(join(tmpdir(), 'hf-tools-'))
})
afterEach(() => rm(clients, { recursive: true }))

async function versionFor(tool: string, server: string): Promise<Record<string, string>> {
  await writeFile(join(clients, 'mongodump'), `#!/bin/sh\necho 'mongodump version: ${tool}'\n`)
  await chmod(join(clients, 'mongodump'), 0o755)
  return toolVersion('mongodump', { clients, server, signal: AbortSignal.timeout(20_000) })
}

test.each([
  ['100.5.2', '5.0.3'],
  ['100.9.5', '7.0.14'],
  ['100.10.0', '8.0.1'],
  ['101.0.0', '8.2.0'],
])('tools %s are good for MongoDB %s', async (tool, server) => {
  expect(await versionFor(tool, server)).toEqual({ mongodump: tool })
})

test.each([
  ['100.4.9', '5.0.3', '100.5.2'],
  ['4.0.28', '7.0.14', '100.5.2'],
  ['100.9.5', '8.0.1', '100.10.0'],
])('tools %s are too old for MongoDB %s', async (tool, server, needed) => {
  await expect(versionFor(tool, server)).rejects.toMatchObject({
    kind: 'configuration',
    message: `mongodump ${tool} is too old for MongoDB ${server}`,
    hint: expect.stringContaining(needed),
  })
})

test.each([
  ['MongoDB', '8.0.4', '7.0.14', true],
  ['MongoDB', '10.0.0', '9.1.0', true],
  ['MongoDB', '7.0.14', '7.0.2', false],
  ['MongoDB', '7.0.14', '8.0.1', false],
  ['FerretDB', '8.0.0', '7.0.0', false],
])('a backup of %s %s into MongoDB %s is refused: %j', (product, from, version, refused) => {
  const server = { product: 'MongoDB', version, replicaSet: null, isRouter: false }
  const restore = () => refuseOlder({ product, version: from }, server)
  if (refused) expect(restore).toThrow(`the backup is of MongoDB ${from}, the target runs ${version}`)
  else expect(restore).not.toThrow()
})
