import { type Entry, name, qualified } from './toc.ts'

const attaching = new RegExp(`^ALTER TABLE (?:ONLY )?(${qualified}) ATTACH PARTITION (${qualified})`)
const referring = new RegExp(`^.* REFERENCES (${qualified})`, 's')
const constraining = new RegExp(String.raw`^ALTER TABLE (?:ONLY )?(${qualified})\s+ADD CONSTRAINT (${name})`)

/**
 * Pure: foreign keys that refer to tables without their rows, or to a table that has one of those as a partition, and what is said of these
 * keys. Without it pg_restore would end at the key.
 */
export function unheld(entries: readonly Entry[], tables: readonly { schema: string; name: string }[]): Entry[] {
  if (tables.length === 0) return []
  const lacking = withParents(entries, new Set(tables.map(({ schema, name }) => keyOf(schema, name))))
  const keys = entries.filter(({ kind, sql }) => {
    const to = kind === 'FK CONSTRAINT' && referring.exec(sql)?.[1]
    return to && lacking.has(bare(to))
  })
  const said = keys.map(({ sql }) => {
    const [, on, constraint] = constraining.exec(sql) ?? []
    return `COMMENT ON CONSTRAINT ${constraint} ON ${on} IS `
  })
  const isSaid = ({ kind, sql }: Entry) => kind === 'COMMENT' && said.some((start) => sql.startsWith(start))
  return entries.filter((entry) => keys.includes(entry) || isSaid(entry))
}

/** These tables, and all that have one of them as a partition, over any number of levels. */
function withParents(entries: readonly Entry[], tables: ReadonlySet<string>): ReadonlySet<string> {
  const attached = entries.flatMap(({ kind, sql }) => {
    const [, parent, part] = (kind === 'TABLE ATTACH' && attaching.exec(sql)) || []
    return parent && part ? [{ parent: bare(parent), part: bare(part) }] : []
  })
  const all = new Set(tables)
  for (let before = -1; before !== all.size; ) {
    before = all.size
    for (const { parent, part } of attached) if (all.has(part)) all.add(parent)
  }
  return all
}

/** However a name is quoted, it is the same. */
function bare(text: string): string {
  const names = text.match(/"(?:[^"]|"")*"|[^.]+/g) ?? []
  const [schema = '', table = ''] = names.map((one) =>
    one.startsWith('"') ? one.slice(1, -1).replaceAll('""', '"') : one,
  )
  return keyOf(schema, table)
}

function keyOf(schema: string, table: string): string {
  return JSON.stringify([schema, table])
}
