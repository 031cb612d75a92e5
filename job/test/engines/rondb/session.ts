import { type Session, SqlError } from '../../../io/mysql.ts'

export interface FakeSession extends Session {
  /** Everything that was asked for, in order. */
  readonly asked: string[]
}

interface Answers {
  server?: string
  /** The rows of a query; none when undefined. */
  rows?: (sql: string) => object[] | undefined
  /** The error number of a statement that the server refuses. */
  errno?: (sql: string) => number | undefined
}

/** A MySQL server that remembers what it was told. */
export function fakeSession({ server = 'db:3306', rows, errno }: Answers = {}): FakeSession {
  const asked: string[] = []
  const ask = (sql: string) => {
    asked.push(sql)
    const number = errno?.(sql)
    if (number !== undefined) throw new SqlError(`error ${number}`, number, undefined)
  }
  return {
    server,
    asked,
    rows: async (sql) => {
      ask(sql)
      return (rows?.(sql) ?? []) as never
    },
    execute: async (sql) => ask(sql),
    close: () => {},
  }
}
