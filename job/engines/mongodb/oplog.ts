import { z } from 'zod'

const Moment = z.object({ seconds: z.int(), increment: z.int() })

/** What an oplog does to one collection. */
const Change = z.object({
  inserts: z.int(),
  deletes: z.int(),
  /** A command made, dropped or renamed it: how many documents it has is not known. */
  commands: z.boolean(),
})

/** The oplog in an archive: what was written while mongodump read the collections. */
export const Oplog = z.object({
  entries: z.int(),
  /** Entries that change something; the others are the server's heartbeat. */
  changes: z.int(),
  first: Moment.nullable(),
  /** The point in time of the backup. */
  last: Moment.nullable(),
  collections: z.record(z.string(), Change),
})
export type Oplog = z.infer<typeof Oplog>

interface Entry {
  ts?: unknown
  op?: string
  ns?: string
  o?: Record<string, unknown>
}

/** Takes the entries of an oplog one by one, those inside of transactions too. */
export function countOplog() {
  const counted: Oplog = { entries: 0, changes: 0, first: null, last: null, collections: {} }

  function add(document: Record<string, unknown>): void {
    counted.entries++
    const moment = momentOf(document.ts)
    counted.first ??= moment
    counted.last = moment ?? counted.last
    apply(document as Entry)
  }

  function apply({ op, ns = '', o = {} }: Entry): void {
    if (op === 'n') return
    if (Array.isArray(o.applyOps)) {
      for (const entry of o.applyOps) apply(entry)
      return
    }
    counted.changes++
    if (op === 'i') changeOf(ns).inserts++
    else if (op === 'd') changeOf(ns).deletes++
    else if (op === 'c') command(ns.split('.')[0] ?? '', o)
  }

  function command(database: string, o: Record<string, unknown>): void {
    const [name = '', value] = Object.entries(o)[0] ?? []
    if (name === 'renameCollection') for (const ns of [value, o.to]) changeOf(String(ns)).commands = true
    else if (name === 'dropDatabase') changeOf(`${database}.*`).commands = true
    else if (typeof value === 'string') changeOf(`${database}.${value}`).commands = true
  }

  function changeOf(ns: string) {
    counted.collections[ns] ??= { inserts: 0, deletes: 0, commands: false }
    return counted.collections[ns] as z.infer<typeof Change>
  }

  return { add, counted: () => counted }
}

/** A BSON timestamp: seconds since 1970 in its upper half, a count in the lower one. */
function momentOf(value: unknown): z.infer<typeof Moment> | null {
  const { high, low } = (value ?? {}) as { high?: number; low?: number }
  return high === undefined || low === undefined ? null : { seconds: high >>> 0, increment: low >>> 0 }
}

/** Pure: how many documents a collection can have after the replay. Undefined when that cannot be told. */
export function expected(
  { namespace, documents }: { namespace: string; documents: number },
  oplog: Oplog | undefined,
): [number, number] | undefined {
  const change = oplog?.collections[namespace]
  const database = namespace.split('.')[0]
  if (change?.commands || oplog?.collections[`${database}.*`]) return undefined
  // mongodump may have read an insert of the oplog already, or missed what a delete of it took
  return [Math.max(0, documents - (change?.deletes ?? 0)), documents + (change?.inserts ?? 0)]
}
