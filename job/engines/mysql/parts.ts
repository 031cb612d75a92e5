import type { Stored } from './facts.ts'
import { keyOf } from './tables.ts'
import type { Detail } from './target.ts'

type Chosen = Pick<Detail, 'facts' | 'selection' | 'accounts'>

export const allKinds: Stored['kind'][] = [
  'accounts',
  'dump',
  'tables',
  'data',
  'triggers',
  'routines',
  'views',
  'events',
]

/** Pure: the parts of some kinds that a request needs, in the order of the manifest. */
export function partsOf(detail: Chosen, ...kinds: Stored['kind'][]): Stored[] {
  const { facts, selection, accounts: withAccounts } = detail
  const tables = new Set(selection.tables.map(keyOf))
  const databases = new Set(selection.tables.map((table) => table.database))
  const needed: Record<Stored['kind'], (part: Stored) => boolean> = {
    accounts: () => withAccounts,
    dump: () => true,
    tables: ({ database = '' }) => databases.has(database) || selection.objects.includes(database),
    data: (part) => part.tables?.some((table) => tables.has(table)) ?? false,
    triggers: hasObjects,
    routines: hasObjects,
    views: hasObjects,
    events: hasObjects,
  }
  function hasObjects({ database = '' }: Stored): boolean {
    return selection.objects.includes(database)
  }
  return facts.parts.filter((part) => kinds.includes(part.kind) && needed[part.kind](part))
}
