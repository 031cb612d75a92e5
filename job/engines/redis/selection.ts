import type { Choice } from './values.ts'

/** Key of the marker, in database 0: never contents, and in no backup. */
export const markerKey = 'holdfast:restore'

export interface Chosen {
  include?: Choice | undefined
  exclude?: Choice | undefined
}

/** What of the databases and keys is meant. */
export interface Selection {
  database(number: number): boolean
  /** Of a chosen database. The key is made only when patterns look at it. */
  key(key: () => Buffer): boolean
  /** Databases come as a whole: `key` says yes to every one. */
  readonly whole: boolean
}

/** Pure. What all of the choices choose; of each the includes first, then the excludes. */
export function select(...choices: Chosen[]): Selection {
  const patterns = choices.map(({ include, exclude }) => ({
    include: include?.keys.map(glob) ?? [],
    exclude: exclude?.keys.map(glob) ?? [],
  }))
  const whole = patterns.every(({ include, exclude }) => include.length + exclude.length === 0)
  return {
    whole,
    database: (number) =>
      choices.every(({ include, exclude }) => {
        const named = include?.databases ?? []
        return (named.length === 0 || named.includes(number)) && !exclude?.databases.includes(number)
      }),
    key: (key) => {
      if (whole) return true
      const text = key().toString('latin1')
      const matches = (pattern: RegExp) => pattern.test(text)
      return patterns.every(
        ({ include, exclude }) => (include.length === 0 || include.some(matches)) && !exclude.some(matches),
      )
    },
  }
}

interface Found {
  database: number
  key(): Buffer
  keySize(): number
}

/** In an RDB the marker's key is too short to be compressed: others are told apart by their size, without being made. */
export function isMarker({ database, key, keySize }: Found): boolean {
  return database === 0 && keySize() === markerKey.length && key().toString('latin1') === markerKey
}

/** Pure: a pattern as KEYS takes it, for keys as latin1 texts: `?` is one byte. */
export function glob(pattern: string): RegExp {
  const text = Buffer.from(pattern).toString('latin1')
  let source = ''
  for (let i = 0; i < text.length; i++) {
    const char = text[i] as string
    if (char === '*') {
      if (!source.endsWith('[^]*')) source += '[^]*'
    } else if (char === '?') source += '[^]'
    else if (char === '[') {
      const { set, end } = setIn(text, i + 1)
      source += set
      i = end
    } else source += literal(char === '\\' && i + 1 < text.length ? (text[++i] as string) : char)
  }
  return new RegExp(`^${source}$`)
}

/** `[abc]`, `[^a-z]`: which ends at `]`, or with the pattern. */
function setIn(text: string, from: number): { set: string; end: number } {
  const not = text[from] === '^'
  let inside = ''
  let i = not ? from + 1 : from
  for (; i < text.length && text[i] !== ']'; i++) {
    if (text[i] === '\\' && i + 1 < text.length) inside += literal(text[++i] as string)
    else if (text[i + 1] === '-' && i + 2 < text.length) {
      const [low, high] = [text[i] as string, text[i + 2] as string].sort() as [string, string]
      inside += `${literal(low)}-${literal(high)}`
      i += 2
    } else inside += literal(text[i] as string)
  }
  return { set: `[${not ? '^' : ''}${inside}]`, end: i }
}

/** By its code: whatever it means in a regular expression. */
function literal(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
}
