import { JobError } from '../../errors.ts'

/**
 * Pure: the statements of SQL that pg_dump or pg_dumpall wrote, without comments. A line of psql's own language is no SQL: all are
 * refused but the two that psql is fenced in with, so nothing of a dump is ever run but SQL.
 */
export function statementsIn(sql: string, where: string): string[] {
  const found: string[] = []
  let statement = ''
  let open = false
  for (const [token] of sql.matchAll(tokens)) {
    if (token.startsWith('--')) continue
    if (token.startsWith('\\')) {
      if (/^\\(un)?restrict [A-Za-z0-9]+$/.test(token) && statement.trim() === '') continue
      throw new JobError('verification', `${where} holds a command of psql: ${token.slice(0, 40)}`, {
        hint: 'no program of PostgreSQL writes that: do not trust this backup',
      })
    }
    // a quote by itself has no other one behind it
    open ||= token === "'" || token === '"'
    if (token !== ';') {
      statement += token
      continue
    }
    if (statement.trim() !== '') found.push(statement.trim())
    statement = ''
  }
  if (statement.trim() === '' && !open) return found
  throw new JobError('verification', `${where} ends in the middle of a statement`, {
    hint: 'the backup is damaged: restore another one',
  })
}

/** Comments to the end of the line, backslash lines, texts, names, the end of a statement, and what is between them. */
const tokens =
  /--[^\n]*|(?<=^|\n)\\[^\n]*|\bE'(?:[^'\\]|''|\\[\s\S])*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|;|[A-Za-z_][A-Za-z_0-9]*|[\s\S]/gi

/** A name at the beginning of a text, as SQL writes it: what it is, and what follows. */
export function nameAt(text: string): { name: string; rest: string } | undefined {
  const [whole, quoted, plain] = /^\s*(?:"((?:[^"]|"")*)"|([^\s";,]+))/.exec(text) ?? []
  if (whole === undefined) return undefined
  return {
    name: quoted === undefined ? (plain as string) : quoted.replaceAll('""', '"'),
    rest: text.slice(whole.length),
  }
}
