import { setImmediate as breathe } from 'node:timers/promises'
import { JobError } from '../../errors.ts'
import { type Blocks, blocksOf } from './blocks.ts'

/** One member of an archive that GNU tar wrote with --format=posix. Paths are strings of bytes without `./` in front or `/` behind. */
export interface Member {
  path: string
  type: 'file' | 'folder' | 'symlink' | 'hardlink' | 'fifo' | 'device'
  mode: number
  uid: number
  gid: number
  /** Of the file with its holes. */
  size: number
  /** Decimal seconds since 1970, with as many digits as the archive has. */
  mtime: string
  /** Where a symbolic link points; the path of a hard link's other name. */
  link?: string
}

export interface Visitor {
  /** False leaves the member out of what goes on. A member that must not be there is an error. */
  member(member: Member): boolean
  /** Bytes of the member, holes as zeros. */
  content(bytes: Buffer): void
  ended(): Promise<void> | void
}

const blockBytes = 512
const zeros = Buffer.alloc(64 * 1024)
/** Long names and extended attributes; more is none of tar's doing. */
const mostHeader = 16 * 1024 * 1024
const types: Record<string, Member['type']> = {
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'device',
  '4': 'device',
  '5': 'folder',
  '6': 'fifo',
}
/** What GNU tar says in extended headers; another program might mean something that we do not see. */
const known =
  /^([acm]time|path|linkpath|size|uid|gid|uname|gname|GNU\.sparse\.(major|minor|name|realsize)|SCHILY\.(xattr|acl)\..+|RHT\.security\.selinux)$/s

/**
 * The archive as it came, member by member past the visitor. Throws `verification` for what GNU tar would not have written, and when
 * the end is missing.
 */
export async function* throughArchive(source: AsyncIterable<Buffer>, visitor: Visitor): AsyncGenerator<Buffer> {
  const blocks = blocksOf(source)
  for (;;) {
    const head = await nextHead(blocks)
    if (!head) break
    const keep = visitor.member(head.member)
    if (keep) yield head.raw
    for await (const bytes of contentOf(blocks, head, visitor)) if (keep) yield bytes
    await visitor.ended()
  }
  yield Buffer.alloc(2 * blockBytes)
  // tar fills its last record with zeros
  while ((await blocks.some(zeros.length)).length > 0);
}

/** Only what the visitor is told counts. */
export async function visitArchive(source: AsyncIterable<Buffer>, visitor: Visitor): Promise<void> {
  for await (const _ of throughArchive(source, visitor));
}

interface Head {
  member: Member
  /** Its header blocks, as they came. */
  raw: Buffer
  /** Bytes in the archive. */
  stored: number
  sparse: boolean
}

async function nextHead(blocks: Blocks): Promise<Head | undefined> {
  const raw: Buffer[] = []
  let pax = new Map<string, string>()
  for (;;) {
    const header = await blocks.exactly(blockBytes, 'the archive has no end')
    if (header.every((byte) => byte === 0)) {
      if (raw.length > 0) throw wrong('an extended header belongs to nothing')
      return undefined
    }
    if (octal(header, 148, 8) !== checksum(header)) throw wrong('a header is damaged')
    raw.push(header)
    const type = String.fromCharCode(header[156] as number)
    if (type === 'x') {
      if (raw.length > 1) throw wrong('there are two extended headers in a row')
      const size = octal(header, 124, 12)
      if (size > mostHeader) throw wrong('an extended header is too large')
      const data = await blocks.exactly(padded(size), 'an extended header is cut off')
      raw.push(data)
      pax = records(data.subarray(0, size))
      continue
    }
    const kind = types[type]
    if (!kind) throw wrong(`a member has type ${JSON.stringify(type)}`)
    return headOf({ header, kind, pax, raw: Buffer.concat(raw) })
  }
}

function headOf({
  header,
  kind,
  pax,
  raw,
}: {
  header: Buffer
  kind: Member['type']
  pax: Map<string, string>
  raw: Buffer
}): Head {
  const sparse = pax.has('GNU.sparse.major')
  if (sparse && (pax.get('GNU.sparse.major') !== '1' || pax.get('GNU.sparse.minor') !== '0' || kind !== 'file'))
    throw wrong('a sparse file is in another format')
  const prefix = text(header, 345, 155)
  const short = prefix ? `${prefix}/${text(header, 0, 100)}` : text(header, 0, 100)
  const stored = number(pax, 'size', () => octal(header, 124, 12))
  const name = (sparse ? pax.get('GNU.sparse.name') : pax.get('path')) ?? short
  const link = kind === 'symlink' || kind === 'hardlink' ? (pax.get('linkpath') ?? text(header, 157, 100)) : undefined
  // tar would skip the bytes, or make a folder of a file: it must see what we see
  if (kind !== 'file' && stored > 0) throw wrong('what is no file has content')
  if (kind === 'file' && name.endsWith('/')) throw wrong('a file is named like a folder')
  if (name.includes('\0') || link?.includes('\0')) throw wrong('a name has a zero byte')
  const member: Member = {
    path: plain(name),
    type: kind,
    mode: octal(header, 100, 8) & 0o7777,
    uid: number(pax, 'uid', () => octal(header, 108, 8)),
    gid: number(pax, 'gid', () => octal(header, 116, 8)),
    size: sparse ? number(pax, 'GNU.sparse.realsize', () => 0) : stored,
    mtime: pax.get('mtime') ?? String(octal(header, 136, 12)),
    ...(link === undefined ? {} : { link: kind === 'hardlink' ? plain(link) : link }),
  }
  return { member, raw, stored, sparse }
}

/** `./a/` is `a`; the folder itself is `.`. What leads elsewhere stays as it is, for whoever asks. */
function plain(name: string): string {
  const path = name.replace(/^(\.\/)+/, '').replace(/\/+$/, '')
  return path === '' && !name.startsWith('/') ? '.' : path || name
}

async function* contentOf(blocks: Blocks, { member, stored, sparse }: Head, visitor: Visitor): AsyncGenerator<Buffer> {
  let left = stored
  const map = sparse ? await readMap(blocks) : undefined
  if (map) {
    left -= map.raw.length
    yield map.raw
  }
  let at = 0
  for (const { offset, length } of map?.segments ?? [{ offset: 0, length: stored }]) {
    if (offset < at || offset + length > member.size || length > left) throw wrong('the map of a sparse file is wrong')
    await fill(visitor, offset - at)
    left -= length
    at = offset + length
    for (let rest = length; rest > 0; ) {
      const bytes = await blocks.some(rest)
      if (bytes.length === 0) throw wrong('a file is cut off')
      visitor.content(bytes)
      yield bytes
      rest -= bytes.length
    }
  }
  await fill(visitor, member.size - at)
  if (left !== 0) throw wrong('a sparse file has more than its map says')
  const padding = padded(stored) - stored
  if (padding > 0) yield await blocks.exactly(padding, 'a file is cut off')
}

/** Format 1.0: the number of segments, then offset and length of each, one a line, filled up to whole blocks. */
async function readMap(blocks: Blocks) {
  const raw: Buffer[] = []
  let rest = ''
  const numbers: number[] = []
  while (numbers.length === 0 || numbers.length < 1 + 2 * (numbers[0] as number)) {
    if (raw.length * blockBytes > mostHeader) throw wrong('the map of a sparse file is too large')
    const block = await blocks.exactly(blockBytes, 'the map of a sparse file is cut off')
    raw.push(block)
    const lines = (rest + block.toString('latin1')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const full = numbers.length > 0 && numbers.length === 1 + 2 * (numbers[0] as number)
      if (!full) numbers.push(decimal(line))
    }
  }
  const segments = []
  for (let i = 1; i < numbers.length; i += 2)
    segments.push({ offset: numbers[i] as number, length: numbers[i + 1] as number })
  return { raw: Buffer.concat(raw), segments }
}

/** A hole can be large: others get their turn meanwhile. */
async function fill(visitor: Visitor, bytes: number): Promise<void> {
  for (let rest = bytes, turns = 1; rest > 0; rest -= zeros.length, turns++) {
    visitor.content(rest < zeros.length ? zeros.subarray(0, rest) : zeros)
    if (turns % 256 === 0) await breathe()
  }
}

function records(data: Buffer): Map<string, string> {
  const found = new Map<string, string>()
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at)
    const length = decimal(data.toString('latin1', at, Math.max(space, at)))
    const end = at + length
    if (length < 5 || end > data.length || data[end - 1] !== 0x0a) throw wrong('an extended header is damaged')
    const record = data.toString('latin1', space + 1, end - 1)
    const equals = record.indexOf('=')
    const key = record.slice(0, equals)
    if (equals < 1 || !known.test(key)) throw wrong(`an extended header says ${JSON.stringify(key)}`)
    found.set(key, record.slice(equals + 1))
    at = end
  }
  return found
}

function number(pax: Map<string, string>, key: string, otherwise: () => number): number {
  const said = pax.get(key)
  return said === undefined ? otherwise() : decimal(said)
}

function decimal(digits: string): number {
  if (!/^\d{1,15}$/.test(digits)) throw wrong('a number is none')
  return Number(digits)
}

function octal(header: Buffer, at: number, length: number): number {
  const digits = text(header, at, length).trim()
  if (!/^[0-7]*$/.test(digits)) throw wrong('a header has a number that is not octal')
  return digits === '' ? 0 : Number.parseInt(digits, 8)
}

function text(header: Buffer, at: number, length: number): string {
  const field = header.subarray(at, at + length)
  const end = field.indexOf(0)
  return field.toString('latin1', 0, end < 0 ? length : end)
}

function checksum(header: Buffer): number {
  let sum = 8 * 0x20
  for (let i = 0; i < blockBytes; i++) if (i < 148 || i >= 156) sum += header[i] as number
  return sum
}

function padded(size: number): number {
  return Math.ceil(size / blockBytes) * blockBytes
}

function wrong(what: string): JobError {
  return new JobError('verification', `the archive is not what GNU tar writes: ${what}`)
}
