import type { Product } from './encodings.ts'
import { unlessRefused, type Wire } from './wire.ts'

/** What INFO says, by name; of `module` there is one line for each, so these have the whole line as their name. */
export type Info = ReadonlyMap<string, string>

export async function infoOf(wire: Wire): Promise<Info> {
  const text = String(await wire.ask('INFO'))
  const lines = text.split('\r\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const end = line.startsWith('module:') ? line.length : line.indexOf(':')
      return [line.slice(0, end), line.slice(end + 1)]
    }),
  )
}

/** A setting; undefined when the server does not tell. */
export async function settingOf(wire: Wire, name: string): Promise<string | undefined> {
  const said = await wire.ask('CONFIG', 'GET', name).catch(unlessRefused)
  return Array.isArray(said) ? String(said[1] ?? '') : undefined
}

export function productOf(info: Info): { product: Product; version: string } {
  const valkey = info.get('valkey_version')
  return valkey
    ? { product: 'Valkey', version: valkey }
    : { product: 'Redis', version: info.get('redis_version') ?? '' }
}

/** Keys by the number of the database; those that are empty are not told. */
export function keysOf(info: Info): Map<number, { keys: number; expires: number }> {
  const found = new Map<number, { keys: number; expires: number }>()
  for (const [name, says] of info) {
    const [, database] = /^db(\d+)$/.exec(name) ?? []
    const [, keys, expires] = /^keys=(\d+),expires=(\d+)/.exec(says) ?? []
    if (database) found.set(Number(database), { keys: Number(keys), expires: Number(expires) })
  }
  return found
}

/** Replicas that follow: `slave0:ip=10.0.0.7,port=6379,state=online,offset=1234,lag=0`. */
export function replicasOf(info: Info): { host: string; port: number; offset: number }[] {
  const found: { host: string; port: number; offset: number }[] = []
  for (const [name, says] of info) {
    if (!/^slave\d+$/.test(name)) continue
    const fields = new Map(says.split(',').map((field) => field.split('=', 2) as [string, string]))
    if (fields.get('state') !== 'online') continue
    found.push({ host: fields.get('ip') ?? '', port: Number(fields.get('port')), offset: Number(fields.get('offset')) })
  }
  return found.sort((a, b) => b.offset - a.offset)
}
