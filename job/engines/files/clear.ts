import { Readable } from 'node:stream'
import type { Folder, WorkContext } from '../../engine.ts'
import { pairs } from './compare.ts'
import { readList } from './list.ts'
import type { Work } from './orders.ts'
import { chooser } from './patterns.ts'
import { namesTar } from './tar.ts'

type Clear = Extract<Work, { do: 'clear' }>

/** Makes room: what is a folder in the target and none in the backup goes; with `all`, also what the backup does not have. */
export async function clear(order: Clear, { beside, read }: WorkContext): Promise<{ removed: number }> {
  const ours = chooser(order.choice)
  const backedUp = chooser(order.kept)
  const gone: string[] = []
  let above: string | undefined
  const names = namesIn(beside.output(namesTar({ path: beside.path, clients: order.clients })))
  for await (const { left, right } of pairs({ left: readList(await read('list.jsonl')), right: names })) {
    if (!right || right.path === '.' || isBelow(right.path, above)) continue
    const inTheWay = left !== undefined && right.folder && left.type !== 'folder' && ours.chosen(right.path)
    const extra = left === undefined && order.all && ours.chosen(right.path) && backedUp.chosen(right.path)
    if (!inTheWay && !extra) continue
    gone.push(right.path)
    above = right.path
  }
  if (gone.length > 0) await remove(beside, gone)
  return { removed: gone.length }
}

function isBelow(path: string, folder: string | undefined): boolean {
  return folder !== undefined && path.startsWith(`${folder}/`)
}

/** What tar lists with --quoting-style=escape; folders end with a slash. */
async function* namesIn(output: Readable): AsyncGenerator<{ path: string; folder: boolean }> {
  let rest = ''
  for await (const chunk of output) {
    const lines = (rest + chunk.toString('latin1')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const name = unescaped(line)
      yield { path: name.replace(/^\.\//, '').replace(/\/$/, '') || '.', folder: name.endsWith('/') }
    }
  }
}

const escapes: Record<string, string> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }

function unescaped(line: string): string {
  return line.replaceAll(/\\([0-7]{3}|.)/gs, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : (escapes[code] ?? code),
  )
}

async function remove(beside: Folder, paths: string[]): Promise<void> {
  // never into what is mounted below; a name that begins with a dash is a name
  const args = ['-0', 'rm', '-rf', '--one-file-system', '--']
  const names = paths.map((path) => `${Buffer.from(beside.path, 'utf8').toString('latin1')}/${path}\0`)
  await beside.consume(
    { file: 'xargs', args, env: { LC_ALL: 'C' } },
    Readable.from([Buffer.from(names.join(''), 'latin1')], { objectMode: false }),
  )
}
