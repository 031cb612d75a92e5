import type { Readable } from 'node:stream'
import { decoded } from '../../io/text.ts'

/**
 * Cuts a dump into its statements as the mysql client would, but never acts on a client command: a dump cannot run a shell.
 * Bytes pass as latin1, so texts in any character set come out as they went in. Only the statement at hand is in memory.
 */
export async function* statements(dump: Readable): AsyncGenerator<string> {
  let delimiter = ';'
  let marks = marksOf(delimiter)
  let statement = ''
  let state: State = 'code'
  for await (const line of linesOf(decoded(dump, 'latin1'))) {
    if (state === 'code' && lineOfItsOwn.test(line) && !hasCode(statement)) {
      delimiter = /^\s*DELIMITER\s+(\S+)/i.exec(line)?.[1] ?? delimiter
      marks = { ...marks, code: marksOf(delimiter).code }
      statement = ''
      continue
    }
    let from = 0
    for (let at = 0; at < line.length; ) {
      const found = next(marks[state], line, at)
      if (!found || isLineComment(state, found[0])) break
      at = found.index + found[0].length
      if (state !== 'code' || found[0] !== delimiter) {
        state = stateAfter(state, found[0])
        continue
      }
      statement += line.slice(from, found.index)
      if (hasCode(statement)) yield trimmed(statement)
      marks = { ...marks, ...quotesAfter(statement) }
      statement = ''
      from = at
    }
    statement += line.slice(from)
  }
  if (hasCode(statement)) yield trimmed(statement)
}

type State = 'code' | "'" | '"' | '`' | 'comment'

/** As the client does, `--` needs no space behind it where no statement has begun. */
const lineOfItsOwn = /^\s*(?:DELIMITER\s|--|#)/i

/** What a state looks for: what ends it, or what it must not be mistaken for. */
function marksOf(delimiter: string): Record<State, RegExp> {
  // `/*!` holds code for the server: its quotes and delimiters count, so only its opening is passed
  const code = new RegExp(`${RegExp.escape(delimiter)}|['"\`#]|--(?=[\\0- ]|$)|/\\*!?`, 'g')
  return { code, ...escaping, '`': /`/g, comment: /\*\//g }
}

const escaping = { "'": /\\[\s\S]|'/g, '"': /\\[\s\S]|"/g }
const literal = { "'": /'/g, '"': /"/g }

/** A dump sets the mode that a routine was written in: then a backslash may be a letter like any other. */
function quotesAfter(statement: string): Partial<typeof escaping> {
  const mode = statement.length < 1000 && /^SET\s+sql_mode\s*=\s*(.*)/i.exec(bare(statement))?.[1]
  if (!mode) return {}
  return /NO_BACKSLASH_ESCAPES/i.test(mode) ? literal : escaping
}

function next(mark: RegExp, line: string, at: number): RegExpExecArray | null {
  mark.lastIndex = at
  return mark.exec(line)
}

function isLineComment(state: State, mark: string): boolean {
  return state === 'code' && (mark === '#' || mark === '--')
}

function stateAfter(state: State, mark: string): State {
  if (state !== 'code') return mark.startsWith('\\') ? state : 'code'
  if (mark === '/*') return 'comment'
  return mark === '/*!' ? 'code' : (mark as State)
}

/** Lines with their ends. */
async function* linesOf(dump: AsyncIterable<string>): AsyncGenerator<string> {
  let rest: string[] = []
  for await (const chunk of dump) {
    let from = 0
    for (let end = chunk.indexOf('\n'); end >= 0; end = chunk.indexOf('\n', from)) {
      yield rest.join('') + chunk.slice(from, end + 1)
      rest = []
      from = end + 1
    }
    if (from < chunk.length) rest.push(chunk.slice(from))
  }
  if (rest.length > 0) yield rest.join('')
}

function hasCode(statement: string): boolean {
  return bare(statement, 100) !== ''
}

/** Not trim(): byte A0 would be a space to it, and is a part of letters in UTF-8. */
function trimmed(statement: string): string {
  return statement.replace(/^[\t-\r ]+/, '').replace(/[\t-\r ]+$/, '')
}

const comments = /(?:[\t-\r ]+|\/\*(?!!)[\s\S]*?\*\/|(?:#|--(?=[\0- ]|$)).*)*/y

/** The beginning of a statement without comments, and without the marks around version-dependent code, for looking at what it is. */
export function bare(statement: string, length = 4096): string {
  comments.lastIndex = 0
  comments.test(statement)
  const from = comments.lastIndex
  return statement
    .slice(from, from + length)
    .replaceAll(/^[ \t]*(--([ \t].*)?|#.*)$/gm, '')
    .replaceAll(/\/\*(?!!)[\s\S]*?\*\//g, '')
    .replaceAll(/\/\*!\d*\s?|\*\//g, '')
    .trim()
}
