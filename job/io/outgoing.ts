import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { type Part, suffixOf } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { seal, sealedSize } from './seal.ts'
import { tap } from './tap.ts'

export interface Content {
  size: number
  sha256: string
}

/** How a part goes into one storage: as it is, or encrypted for those who may read that storage. */
export interface Outgoing {
  key: string
  /** Bytes as they are stored, when known. */
  size?: number
  /** What is stored of the data. Can be called again, with the data from its beginning. */
  open(data: Readable): Readable
  /** The part as it is stored, after its end; `sent` is what went in, which nobody needs to know of what is encrypted. */
  part(sent: Content | undefined): Part
}

interface Leaving {
  key: string
  path: string
  size?: number | undefined
}

/** What is encrypted has a key of its own in each storage. Rejects with `configuration` for a recipient that is none. */
export async function outgoingTo({ encryption }: Storage, { key, path, size }: Leaving): Promise<Outgoing> {
  if (!encryption)
    return {
      key,
      ...(size === undefined ? {} : { size }),
      open: (data) => data,
      part: (sent) => ({ path, ...(sent as Content) }),
    }
  // only for who encrypts: it takes a while to load
  const { fileKeySize, wrapKey } = await import('./age.ts')
  const { recipients } = encryption
  const place = key + suffixOf({ age: true })
  const fileKey = randomBytes(fileKeySize)
  const header = await wrapKey({ fileKey, recipients, place })
  let content: () => Content
  return {
    key: place,
    ...(size === undefined ? {} : { size: sealedSize(size, header) }),
    open: (data) => {
      const { stream, result } = tap(seal(data, { fileKey, header }))
      content = result
      return stream
    },
    part: (sent) => ({
      path: path + suffixOf({ age: true }),
      ...content(),
      age: { header, recipients: [...recipients] },
      ...(sent ? { plain: sent } : {}),
    }),
  }
}
