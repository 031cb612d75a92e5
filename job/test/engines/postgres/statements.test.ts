import { expect, test } from 'vitest'
import { renamed } from '../../../engines/postgres/database.ts'
import { readGlobals } from '../../../engines/postgres/globals.ts'
import { quoteText } from '../../../engines/postgres/server.ts'
import { statementsIn } from '../../../engines/postgres/statements.ts'

test.for([
  ['SELECT 1;\n-- a; comment\nSELECT 2;', ['SELECT 1', 'SELECT 2']],
  ["SELECT 'a;b''c'; SELECT E'a\\';b';", ["SELECT 'a;b''c'", "SELECT E'a\\';b'"]],
  ['SELECT "a;""b";\n\\restrict abc\n\\unrestrict abc\n', ['SELECT "a;""b"']],
  ["COMMENT ON ROLE a IS 'first\n\\! touch x\nlast';", ["COMMENT ON ROLE a IS 'first\n\\! touch x\nlast'"]],
  ["SELECT 'a\\';", ["SELECT 'a\\'"]],
  ['', []],
] as const)('statements of %j', ([sql, statements]) => {
  expect(statementsIn(sql, 'x.sql')).toEqual(statements)
})

test.for(['\\! touch x', 'SELECT 1;\n\\connect x\n', '\\restrict a; b', 'SELECT 1\n\\restrict abc\n;'])(
  'a command of psql is refused: %j',
  (sql) => {
    expect(() => statementsIn(sql, 'x.sql')).toThrow(/command of psql/)
  },
)

test.for(['SELECT 1', "SELECT 'a;", 'SELECT 1; SELECT'])('an end in the middle is refused: %j', (sql) => {
  expect(() => statementsIn(sql, 'x.sql')).toThrow(/middle of a statement/)
})

test.for([
  ['CREATE ROLE "a; b"', 'role', ['a; b']],
  ["ALTER ROLE app WITH LOGIN PASSWORD 'x'", 'role', ['app']],
  ['ALTER ROLE app IN DATABASE x SET work_mem TO 1', 'role', ['app']],
  ["COMMENT ON ROLE app IS 'x'", 'role', ['app']],
  ['GRANT grp TO "a""b" WITH ADMIN OPTION GRANTED BY postgres', 'membership', ['grp', 'a"b']],
  ['GRANT SET ON PARAMETER work_mem TO app', 'parameter', ['app']],
  ["CREATE TABLESPACE ts OWNER app LOCATION '/x'", 'tablespace', ['ts']],
  ['GRANT ALL ON TABLESPACE ts TO app', 'tablespace', ['ts']],
] as const)('%s is about a %s', ([sql, kind, names]) => {
  expect(readGlobals(`SET client_encoding = 'UTF8';\n${sql};`)).toEqual([{ kind, names, sql }])
})

test.for(["COPY (SELECT 1) TO PROGRAM 'x'", 'DROP ROLE app', 'GRANT SELECT ON t', 'SET role = x', 'CREATE ROLE'])(
  'what pg_dumpall does not write is refused: %s',
  (sql) => {
    expect(() => readGlobals(`${sql};`)).toThrow(/not pg_dumpall's/)
  },
)

test.for([
  ['CREATE DATABASE shop WITH TEMPLATE = template0', 'shop', 'CREATE DATABASE "new" WITH TEMPLATE = template0'],
  ['ALTER ROLE a IN DATABASE "S x" SET b TO c', 'S x', 'ALTER ROLE a IN DATABASE "new" SET b TO c'],
  ["COMMENT ON DATABASE shop IS 'DATABASE shop'", 'shop', `COMMENT ON DATABASE "new" IS 'DATABASE shop'`],
  ['GRANT ALL ON DATABASE shop TO shop', 'shop', 'GRANT ALL ON DATABASE "new" TO shop'],
  ['ALTER DATABASE shopping SET a TO b', 'shop', 'ALTER DATABASE shopping SET a TO b'],
] as const)('%s of %s gets another name', ([sql, name, result]) => {
  expect(renamed(sql, { name: 'new', facts: { name } })).toBe(result)
})

test('texts are quoted so that a backslash stays one', () => {
  expect(quoteText("it's")).toBe("'it''s'")
  expect(quoteText("a\\'b")).toBe(" E'a\\\\''b'")
})
