// Writes the manifests of many backups, one an hour until now, into a folder that an S3 server has as its bucket. Prints the newest id.
//
//   node test_scripts/benches/backups.ts FOLDER PLAN COUNT

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatManifest, type Manifest } from '../../job/manifest.ts'
import { version } from '../../job/version.ts'

const [folder = '', plan = '', count = '0'] = process.argv.slice(2)
const hour = 3600
const newest = Math.floor(Date.now() / 1000 / hour) * hour

mkdirSync(join(folder, plan), { recursive: true })
for (let i = 0; i < Number(count); i++) {
  const manifest = manifestOf(newest - i * hour)
  const { id, started } = manifest
  mkdirSync(join(folder, plan, id))
  writeFileSync(join(folder, plan, id, 'started.json'), JSON.stringify({ run: id, plan, started, sources: ['data'] }))
  writeFileSync(join(folder, plan, `${id}.json`), formatManifest(manifest))
}
console.log(newest)

function manifestOf(start: number): Manifest {
  const server = { product: 'files', version: '1.35' }
  return {
    format: 1,
    id: String(start),
    plan,
    started: new Date(start * 1000).toISOString(),
    finished: new Date((start + 60) * 1000).toISOString(),
    jobVersion: version,
    conditionalPut: true,
    sources: [{ name: 'data', engine: 'files', server, tools: { tar: '1.35' }, facts: {} }],
    parts: [],
    warnings: [],
  }
}
