// Patterns of paths below the folder: `*`, `?` and `[…]` stand for what one name may have, and a pattern means whatever it names with
// all that is below. `**/` in front, in what is left out, means at any depth. Paths here are strings of bytes, one character a byte:
// names need not be UTF-8, and tar compares bytes, too.

const anyDepth = '**/'

/** What is wrong with a pattern of the values; undefined when it is right. */
export function patternTrouble(pattern: string, kind: 'include' | 'exclude'): string | undefined {
  const rest = kind === 'exclude' && pattern.startsWith(anyDepth) ? pattern.slice(anyDepth.length) : pattern
  const names = rest.split('/')
  if (names.some((name) => name === '' || name === '.' || name === '..'))
    return 'a pattern is a path below the folder: no / in front or behind, no . and no ..'
  if (rest.includes('**'))
    return kind === 'include' ? 'what is included has no **' : '** stands only in front, as in **/*.tmp'
  if (/[\n\0\\]/.test(pattern)) return 'a pattern has no line ends and no \\'
  return undefined
}

/** Matches one name. */
export function nameMatcher(pattern: string): RegExp {
  return new RegExp(`^${source(pattern)}$`, 's')
}

/** Whether a name has to be looked for. */
export function isPlain(name: string): boolean {
  return !/[*?[]/.test(name)
}

export interface Choice {
  include?: readonly string[] | undefined
  exclude: readonly string[]
}

export interface Chooser {
  /** The path, or a folder above it, is chosen and neither is left out. */
  chosen(path: string): boolean
  /** A folder that something chosen may be below. */
  leadsTo(path: string): boolean
}

export function chooser(choice: Choice): Chooser {
  const include = choice.include?.map(bytesOf)
  const exclude = choice.exclude.map(bytesOf)
  const out = exclude.map((pattern) =>
    pattern.startsWith(anyDepth)
      ? new RegExp(`(^|/)${source(pattern.slice(anyDepth.length))}(/|$)`, 's')
      : new RegExp(`^${source(pattern)}(/|$)`, 's'),
  )
  const inside = include?.map((pattern) => new RegExp(`^${source(pattern)}(/|$)`, 's'))
  const above = include?.flatMap((pattern) => {
    const names = pattern.split('/')
    return names.slice(1).map((_, i) => nameMatcher(names.slice(0, i + 1).join('/')))
  })
  const left = (path: string) => out.some((one) => one.test(path))
  return {
    chosen: (path) => !left(path) && (inside === undefined || inside.some((one) => one.test(path))),
    leadsTo: (path) => !left(path) && (above?.some((one) => one.test(path)) ?? false),
  }
}

function source(pattern: string): string {
  return pattern.replaceAll(/\[(!?)([^\]/]+)\]|[*?]|[^*?[]+|\[/g, (token, not: string | undefined, set?: string) => {
    if (token === '*') return '[^/]*'
    if (token === '?') return '[^/]'
    if (set !== undefined) return `[${not ? '^/' : ''}${set.replaceAll(/[\\\]^]/g, '\\$&')}]`
    return token.replaceAll(/[\\^$.|?*+(){}[\]]/g, '\\$&')
  })
}

/** In the order that tar writes: folder by folder, names by their bytes, a folder before what is in it. */
export function byPath(a: string, b: string): number {
  const left = a === '.' ? [] : a.split('/')
  const right = b === '.' ? [] : b.split('/')
  for (const [i, name] of left.entries()) {
    const other = right[i]
    if (other === undefined) return 1
    if (name !== other) return name < other ? -1 : 1
  }
  return left.length - right.length
}

/** A text as a string of its bytes. */
export function bytesOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}
