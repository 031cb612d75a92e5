import type { Readable } from 'node:stream'
import { z } from 'zod'
import { JobError } from '../../errors.ts'
import { decoded } from '../../io/text.ts'
import type { Member } from './archive.ts'

/** One line of the part `list.jsonl`: what `tree.tar` holds, in its order. Sizes are bytes; names that are not UTF-8 are in base64. */
const Line = z.object({
  path: z.string().optional(),
  pathBase64: z.string().optional(),
  type: z.enum(['file', 'folder', 'symlink', 'hardlink', 'fifo', 'device']),
  mode: z.string().regex(/^[0-7]{4}$/),
  uid: z.int(),
  gid: z.int(),
  size: z.int(),
  /** Seconds since 1970. */
  mtime: z.string(),
  sha256: z.string().optional(),
  link: z.string().optional(),
  linkBase64: z.string().optional(),
})

/** A member with the hash of its content, when it has one. */
export interface Listed extends Member {
  sha256?: string
}

export function formatLine({ path, type, mode, uid, gid, size, mtime, sha256, link }: Listed): string {
  const line = {
    ...named('path', path),
    type,
    mode: mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    size,
    mtime,
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(link === undefined ? {} : named('link', link)),
  }
  return `${JSON.stringify(line)}\n`
}

/** Lines of a list, one by one. Throws `verification` for what is none. */
export async function* readList(data: Readable): AsyncGenerator<Listed> {
  let rest = ''
  for await (const chunk of decoded(data)) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) yield parseLine(line)
  }
  if (rest) yield parseLine(rest)
}

function parseLine(text: string): Listed {
  let parsed: ReturnType<typeof Line.safeParse> | undefined
  try {
    parsed = Line.safeParse(JSON.parse(text))
  } catch {}
  if (!parsed?.success) throw new JobError('verification', `list.jsonl has a line that is none: ${text.slice(0, 100)}`)
  const { path, pathBase64, link, linkBase64, mode, sha256, ...rest } = parsed.data
  const target = link ?? linkBase64
  return {
    ...rest,
    mode: Number.parseInt(mode, 8),
    path: bytes(path, pathBase64),
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(target === undefined ? {} : { link: bytes(link, linkBase64) }),
  }
}

/** A path for people. */
export function shown(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8')
}

function named<K extends string>(key: K, value: string) {
  const raw = Buffer.from(value, 'latin1')
  const text = raw.toString('utf8')
  return Buffer.from(text, 'utf8').equals(raw) ? { [key]: text } : { [`${key}Base64`]: raw.toString('base64') }
}

function bytes(text: string | undefined, base64: string | undefined): string {
  return Buffer.from(text ?? base64 ?? '', text === undefined ? 'base64' : 'utf8').toString('latin1')
}
