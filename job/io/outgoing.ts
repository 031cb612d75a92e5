import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { type Part, suffixOf } from '../manifest.ts'
import type { Storage } from '../storage.ts'
import { worthAThread } from './aside.ts'
import type { Content } from './content.ts'
import { type FileKey, seal, sealedSize } from './seal.ts'
import { sealAside } from './seal-aside.ts'
import { tap } from './tap.ts'

/** How a part goes into one storage: as it is, or encrypted for those who may read that storage. */
export interface Outgoing {
  key: string
  /** Bytes as they are stored, when known. */
  size?: number
  /** It tells by itself what went in: nobody else has to hash it. */
  tells: boolean
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
      tells: false,
      open: (data) => data,
      part: (sent) => ({ path, ...(sent as Content) }),
    }
  // only for who encrypts: it takes a while to load
  const { fileKeySize, wrapKey } = await import('./age.ts')
  const { recipients } = encryption
  const place = key + suffixOf({ age: true })
  const fileKey = randomBytes(fileKeySize)
  const header = await wrapKey({ fileKey, recipients, place })
  const tells = size !== undefined && size >= worthAThread
  let content: () => { stored: Content; plain?: Content }
  return {
    key: place,
    ...(size === undefined ? {} : { size: sealedSize(size, header) }),
    tells,
    open: (data) => {
      const { stream, result } = (tells ? sealAside : sealHere)(data, { fileKey, header })
      content = result
      return stream
    },
    part: (sent) => {
      const { stored, plain = sent } = content()
      return {
        path: path + suffixOf({ age: true }),
        ...stored,
        age: { header, recipients: [...recipients] },
        ...(plain ? { plain } : {}),
      }
    },
  }
}

function sealHere(data: Readable, key: FileKey) {
  const { stream, result } = tap(seal(data, key))
  return { stream, result: () => ({ stored: result() }) }
}
