import { z } from 'zod'
import type { Engine } from '../engine.ts'
import { JobError } from '../errors.ts'
import { Hooks } from '../hooks.ts'
import { cockroachdb } from './cockroachdb/index.ts'
import { files } from './files/index.ts'
import { kubernetes } from './kubernetes/index.ts'
import { mongodb } from './mongodb/index.ts'
import { mysql } from './mysql/index.ts'
import { postgres } from './postgres/index.ts'
import { redis } from './redis/index.ts'
import { rondb } from './rondb/index.ts'

/** Every engine, in the order of the docs. A new one is one line here. Their code is loaded with its first use: a start loads only their values. */
export const engines: readonly Engine[] = [rondb, mysql, postgres, mongodb, redis, cockroachdb, files, kubernetes]

export function engineNamed(name: string): Engine {
  const engine = engines.find((one) => one.name === name)
  if (engine) return engine
  throw new JobError('configuration', `there is no engine ${name} in this version`, {
    hint: 'use the version of holdfast that made the backup, or a newer one',
  })
}

/** The engine of a source or target, and its values: the one key that is an engine's name. */
export function engineOf(values: object): { engine: Engine; values: unknown } {
  for (const engine of engines) {
    if (engine.name in values) return { engine, values: values[engine.name as keyof typeof values] }
  }
  throw new JobError('bug', 'values without an engine passed validation')
}

const sourceName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'a name has 1 to 63 of a-z, 0-9 and -')
  .describe('name of the source; its folder in the backup')

/** One source of a plan: a name and one engine. */
export const SourceValues = oneEngine('sourceSchema')

/** One target of a restore: the name of the backup's source, and where it goes. */
export const TargetValues = oneEngine('targetSchema')

function oneEngine(schema: 'sourceSchema' | 'targetSchema') {
  const kinds = Object.fromEntries(engines.map((engine) => [engine.name, engine[schema].optional()]))
  const names = engines.map((engine) => engine.name).join(', ')
  return z
    .strictObject({ name: sourceName, ...kinds, hooks: Hooks.optional() })
    .refine((values) => engines.filter((engine) => (values as Record<string, unknown>)[engine.name]).length === 1, {
      message: `name one engine: ${names}`,
    })
}
