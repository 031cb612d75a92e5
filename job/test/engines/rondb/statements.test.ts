import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { bare, statements } from '../../../engines/rondb/statements.ts'

function cut(dump: string | Buffer, ...at: number[]): Promise<string[]> {
  const bytes = Buffer.from(dump)
  const ends = [...at, bytes.length]
  const pieces = ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end)).filter((piece) => piece.length > 0)
  return Array.fromAsync(statements(Readable.from(pieces, { objectMode: false })))
}

test.each<[string, string, string[]]>([
  ['two statements of one line are two', 'USE `a`; USE `b`;\n', ['USE `a`', 'USE `b`']],
  ['a statement may have many lines', 'CREATE\nTABLE\n`t` (a int);\n', ['CREATE\nTABLE\n`t` (a int)']],
  ['the last one needs no delimiter', 'SET a=1;\nSET b=2', ['SET a=1', 'SET b=2']],
  ['empty statements are none', ';;\n ;\n', []],
  ['an empty dump has none', '', []],
  ['a delimiter in single quotes is text', "SET a=';', b=1;", ["SET a=';', b=1"]],
  ['a delimiter in double quotes is text', 'SET a=";";SET b=1;', ['SET a=";"', 'SET b=1']],
  ['a delimiter in backticks is a name', 'USE `a;b`;SET b=1;', ['USE `a;b`', 'SET b=1']],
  ['a doubled quote does not end a text', "SET a='it''s;';SET b=1;", ["SET a='it''s;'", 'SET b=1']],
  ['a doubled backtick does not end a name', 'USE `a``;b`;SET b=1;', ['USE `a``;b`', 'SET b=1']],
  ['a backslash keeps a quote from ending a text', "SET a='\\';';SET b=1;", ["SET a='\\';'", 'SET b=1']],
  ['a backslash at its end does not', "SET a='\\\\';SET b=1;", ["SET a='\\\\'", 'SET b=1']],
  ['a backslash in a name is a letter', 'USE `a\\`;SET b=1;', ['USE `a\\`', 'SET b=1']],
  ['a text may go over lines', "SET a='x;\n-- y;\n#z;\n';SET b=1;", ["SET a='x;\n-- y;\n#z;\n'", 'SET b=1']],
  ['a backslash at the end of a line', "SET a='x\\\n;';SET b=1;", ["SET a='x\\\n;'", 'SET b=1']],
  ['a quote in a comment is no quote', "/* it's; */ SET a=1;SET b=1;", ["/* it's; */ SET a=1", 'SET b=1']],
  ['a comment goes over lines', "/* it's\n; */ SET a=1;", ["/* it's\n; */ SET a=1"]],
  ['a comment in a statement stays in it', "SET a=1 -- it's;\n, b=2;", ["SET a=1 -- it's;\n, b=2"]],
  ['so does one after #', "SET a=1 # it's;\n, b=2;", ["SET a=1 # it's;\n, b=2"]],
  ['two minus signs without space are a sum', 'SET a=1--1;SET b=1;', ['SET a=1--1', 'SET b=1']],
  ['comments are no statements', '-- a;\n#b;\n/* c; */;\n--\n', []],
  ['-- needs no space where no statement has begun', "--it's;\nSET a=1;", ['SET a=1']],
  ['comments of many lines before a statement are left out', `${'-- it is;\n'.repeat(999)}SET a=1;`, ['SET a=1']],
  ['code for some versions is code', "/*!40101 SET a=';' */;SET b=1;", ["/*!40101 SET a=';' */", 'SET b=1']],
  ['its delimiter counts, as for the client', '/*!50003 SET a=1 ; */;', ['/*!50003 SET a=1']],
  [
    'a comment in it is one',
    "/*!50003 SET /* it's; */ a=1 */;SET b=1;",
    ["/*!50003 SET /* it's; */ a=1 */", 'SET b=1'],
  ],
  ['lines may end in CR LF', 'SET a=1;\r\n-- x\r\nSET b=1;\r\n', ['SET a=1', 'SET b=1']],
])('%s', async (_, dump, expected) => expect(await cut(dump)).toEqual(expected))

describe('DELIMITER', () => {
  test('bodies keep their semicolons', async () => {
    const dump = 'DELIMITER ;;\nCREATE TRIGGER `t` BEGIN SET a=1; SET b=2; END ;;\nDELIMITER ;\nSET c=1;\n'
    expect(await cut(dump)).toEqual(['CREATE TRIGGER `t` BEGIN SET a=1; SET b=2; END', 'SET c=1'])
  })

  test.each(['$$', '//', '.*', 'end_of_it', '|'])('%s is taken letter by letter', async (delimiter) => {
    expect(await cut(`delimiter ${delimiter}\nSET a=1;\nSET b=2 ${delimiter}\nSET c=3${delimiter}`)).toEqual([
      'SET a=1;\nSET b=2',
      'SET c=3',
    ])
  })

  test('it is a word like others in a statement and in a text', async () => {
    const dump = "CREATE TABLE `t` (\nDELIMITER int);\nSET a='\nDELIMITER $$\n';SET b=1;"
    expect(await cut(dump)).toHaveLength(3)
  })
})

test('a backslash is a letter in routines of NO_BACKSLASH_ESCAPES, and not after them', async () => {
  const dump = [
    "/*!50003 SET sql_mode              = 'ANSI,NO_BACKSLASH_ESCAPES' */ ;",
    "SET a='c:\\';",
    '/*!50003 SET sql_mode              = @saved_sql_mode */ ;',
    "SET b='\\';';",
  ].join('\n')
  expect((await cut(dump)).filter((one) => one.startsWith('SET '))).toEqual(["SET a='c:\\'", "SET b='\\';'"])
})

test.each(['\\! touch /tmp/x', '\\. /etc/passwd', 'source /etc/passwd', 'system ls', 'tee /tmp/x', '\\u mysql'])(
  'the client command %s goes to the server as it is, which refuses it',
  async (command) => expect(await cut(`${command}\nSET a=1;`)).toEqual([`${command}\nSET a=1`]),
)

test('bytes of every kind pass, and none of them is white space', async () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).filter(
    (byte) => !"'\\".includes(String.fromCharCode(byte)),
  )
  const dump = Buffer.concat([Buffer.from("SET a='"), bytes, Buffer.from("', b=`voil\u00e0`;SET c=\u00e0")])
  const [first = '', second = ''] = await cut(dump)
  expect(Buffer.from(first, 'latin1')).toEqual(
    Buffer.concat([Buffer.from("SET a='"), bytes, Buffer.from("', b=`voil\u00e0`")]),
  )
  expect(Buffer.from(second, 'latin1').toString()).toBe('SET c=\u00e0')
})

const sample = `-- MySQL dump 10.13  Distrib 9.7.2

/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
CREATE DATABASE /*!32312 IF NOT EXISTS*/ \`caf\u00e9;\` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;\r
INSERT INTO \`t\` VALUES (1,'it''s; \\'x\\\\'),(2,"-- no"),(3,'/* no');
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=\`a b\`@\`%\`*/ /*!50003 TRIGGER \`x\` BEFORE INSERT ON \`t\` FOR EACH ROW BEGIN
  -- it's;
  # and \`this;
  SET NEW.a = 1; /* ' ; */
END */;;
DELIMITER ;
SET a=1 -- last
`

test('a dump cut anywhere gives the same statements', async () => {
  const whole = await cut(sample)
  expect(whole).toHaveLength(5)
  const length = Buffer.byteLength(sample)
  for (let at = 1; at < length; at++) expect(await cut(sample, at)).toEqual(whole)
  expect(await cut(sample, ...Array.from({ length: length - 1 }, (_, i) => i + 1))).toEqual(whole)
})

test('only the statement at hand is in memory', async () => {
  const insert = Buffer.from(`INSERT INTO \`t\` VALUES ${"(1,'it\\'s; x'),".repeat(70_000)}(2,'y');\n`)
  let sent = 0
  let ahead = 0
  function* dump() {
    for (; sent < 30; sent++) yield insert
  }
  let seen = 0
  for await (const statement of statements(Readable.from(dump(), { objectMode: false, highWaterMark: 1 }))) {
    expect(statement.length).toBe(insert.length - 2)
    seen++
    ahead = Math.max(ahead, sent - seen)
  }
  expect(seen).toBe(30)
  expect(ahead).toBeLessThan(4)
})

test.each<[string, string]>([
  ['-- a\n# b\n/* c */ USE `a`', 'USE `a`'],
  ['/*!40000 DROP TABLE IF EXISTS `t`*/', 'DROP TABLE IF EXISTS `t`'],
  ['CREATE DATABASE /*!32312 IF NOT EXISTS*/ `a`', 'CREATE DATABASE IF NOT EXISTS `a`'],
  [`/*${'x'.repeat(9000)}*/ USE \`a\``, 'USE `a`'],
  ['/* only */ -- this', ''],
])('bare %j', (statement, expected) => expect(bare(statement).replace(/ +/g, ' ')).toBe(expected))
