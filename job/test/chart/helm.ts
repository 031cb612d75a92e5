import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments, stringify } from 'yaml'

const top = join(import.meta.dirname, '../../..')
export const chart = join(top, 'chart')
export const ciFiles = ['rondb', 'rondb-standby', 'databases', 'everything-on']

export function ciFile(name: string): string {
  return join(chart, 'ci', `${name}.yaml`)
}

// biome-ignore lint/suspicious/noExplicitAny: objects of Kubernetes have any shape
export type Json = any

export interface Helm {
  name: string
  /** The objects that a chart renders; throws with Helm's message. */
  render(options?: RenderOptions): Promise<Json[]>
  /** What Helm itself prints and says. */
  template(options?: RenderOptions): Promise<{ code: number; stdout: string; stderr: string }>
}

export interface RenderOptions {
  release?: string
  namespace?: string
  chart?: string
  files?: string[]
  /** Laid over the files. */
  values?: Json
  set?: string[]
}

/** Every major of Helm that is found: on PATH, or among the test tools beside the checkout (HOLDFAST_TEST_KIT, ../shared/kit). */
export const helms = await findHelms()
export const noHelm = helms.length === 0
if (noHelm) {
  if (process.env.CI) throw new Error('no helm on PATH')
  console.log('skipped, no helm: put it on the PATH')
}

async function findHelms(): Promise<Helm[]> {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const kit = join(process.env.HOLDFAST_TEST_KIT ?? join(top, '..', 'shared', 'kit'), 'tools', 'tools')
  const run = promisify(execFile)
  if (existsSync(kit)) folders.push((await run(kit, ['path', 'helm'])).stdout.trim())
  const found = new Map<string, string>()
  for (const name of ['helm', 'helm3', 'helm4']) {
    const program = folders.map((folder) => join(folder, name)).find(existsSync)
    if (!program) continue
    const { stdout } = await run(program, ['version', '--short'])
    const major = /v(\d+)\./.exec(stdout)?.[1] ?? name
    if (!found.has(major)) found.set(major, program)
  }
  return [...found].map(([major, program]) => helmAt(`helm ${major}`, program))
}

function helmAt(name: string, program: string): Helm {
  async function template({
    release = 'prod',
    namespace = 'db',
    chart: folder = chart,
    files = [],
    values,
    set = [],
  }: RenderOptions = {}): Promise<{ code: number; stdout: string; stderr: string }> {
    const temp = values === undefined ? undefined : await mkdtemp(join(tmpdir(), 'holdfast-values-'))
    const over = temp === undefined ? [] : [join(temp, 'values.yaml')]
    if (over[0]) await writeFile(over[0], stringify(values))
    const args = ['template', release, folder, '--namespace', namespace]
    args.push(...[...files, ...over].flatMap((file) => ['-f', file]), ...set.flatMap((one) => ['--set', one]))
    try {
      return await new Promise((resolve) => {
        execFile(program, args, { maxBuffer: 16 << 20 }, (error, stdout, stderr) =>
          resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr }),
        )
      })
    } finally {
      if (temp) await rm(temp, { recursive: true })
    }
  }

  async function render(options?: RenderOptions): Promise<Json[]> {
    const { code, stdout, stderr } = await template(options)
    if (code !== 0) throw new Error(stderr)
    return parseAllDocuments(stdout)
      .map((document) => document.toJS())
      .filter((object) => object !== null)
  }

  return { name, render, template }
}

/** The objects of one kind, by name. */
export function ofKind(objects: Json[], kind: string): Record<string, Json> {
  return Object.fromEntries(
    objects.filter((object) => object.kind === kind).map((object) => [object.metadata.name, object]),
  )
}
