import type { Readable } from 'node:stream'

/**
 * Cuts a dump into its statements as the mysql client would, but never acts on a client command: a dump cannot run a shell.
 * Bytes pass as latin1, so texts in any character set come out as they went in. Only the statement at hand is in memory.
 */
export async function* statements(dump: Readable): AsyncGenerator<string> {
  let delimiter = ';'
  let statement = ''
  let state: State = 'code'
  dump.setEncoding('latin1')
  for await (const line of linesOf(dump)) {
    const changed = state === 'code' && !hasCode(statement) ? /^\s*DELIMITER\s+(\S+)/i.exec(line)?.[1] : undefined
    if (changed) {
      delimiter = changed
      statement = ''
      continue
    }
    let from = 0
    let at = 0
    while (at < line.length) {
      if (state === 'code' && line.startsWith(delimiter, at)) {
        statement += line.slice(from, at)
        if (hasCode(statement)) yield statement.trim()
        statement = ''
        at += delimiter.length
        from = at
        continue
      }
      const next = step(state, line, at)
      state = next.state
      at = next.at
    }
    statement += line.slice(from)
    if (state === 'line comment') state = 'code'
  }
  if (hasCode(statement)) yield statement.trim()
}

type State = 'code' | "'" | '"' | '`' | 'comment' | 'line comment'

function step(state: State, line: string, at: number): { state: State; at: number } {
  const char = line[at]
  if (state === 'code') {
    if (char === "'" || char === '"' || char === '`') return { state: char, at: at + 1 }
    if (char === '#' || /^--(\s|$)/.test(line.slice(at, at + 3))) return { state: 'line comment', at: line.length }
    // `/*!` holds code for the server: its quotes and delimiters count, so only its opening is passed
    if (line.startsWith('/*', at)) return line[at + 2] === '!' ? { state, at: at + 3 } : { state: 'comment', at: at + 2 }
    return { state, at: at + 1 }
  }
  if (state === 'comment') {
    const end = line.indexOf('*/', at)
    return end < 0 ? { state, at: line.length } : { state: 'code', at: end + 2 }
  }
  if (state === 'line comment') return { state, at: line.length }
  if (char === '\\' && state !== '`') return { state, at: at + 2 }
  return char === state ? { state: 'code', at: at + 1 } : { state, at: at + 1 }
}

/** Lines with their ends. */
async function* linesOf(dump: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of dump) {
    const text = rest + chunk
    let from = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      yield text.slice(from, end + 1)
      from = end + 1
    }
    rest = text.slice(from)
  }
  if (rest) yield rest
}

function hasCode(statement: string): boolean {
  return bare(statement) !== ''
}

/** The beginning of a statement without comments, and without the marks around version-dependent code, for looking at what it is. */
export function bare(statement: string): string {
  return statement
    .slice(0, 4096)
    .replaceAll(/^[ \t]*(--([ \t].*)?|#.*)$/gm, '')
    .replaceAll(/\/\*(?!!)[\s\S]*?\*\//g, '')
    .replaceAll(/\/\*!\d*\s?|\*\//g, '')
    .trim()
}
