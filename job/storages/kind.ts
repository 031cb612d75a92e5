import type { z } from 'zod'
import type { SecretReader } from '../engine.ts'
import type { Storage } from '../storage.ts'

/** One kind of storage: its part of the values and how to open it. Opening makes no request that writes. */
export interface StorageKind<Schema extends z.ZodType = z.ZodType> {
  readonly name: string
  readonly schema: Schema
  /** Pure: what tells its place from others, whatever its name or credentials; the last is the folder there. */
  place(options: z.output<Schema>): string[]
  open(options: z.output<Schema>, context: OpenContext & { name: string }): Promise<Storage> | Storage
}

export interface OpenContext {
  /** Values path of the storage, for errors: `storages.main`. */
  readonly at: string
  readonly secret: SecretReader
  /** Where a key of a mounted secret lies as a file, for programs that want a file. */
  secretPath(ref: { secret: string }, key: string): string
  /** Claims are mounted below it, each under its own name. */
  readonly volumesDir: string
}
