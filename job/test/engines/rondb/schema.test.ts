import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import {
  classify,
  createDatabases,
  createLocalTables,
  createObjects,
  type Statement,
} from '../../../engines/rondb/schema.ts'
import type { Selection } from '../../../engines/rondb/selection.ts'
import { fakeSession } from './session.ts'

test.each<[string, Statement]>([
  [
    'CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 */',
    { kind: 'database', name: 'shop' },
  ],
  ['ALTER DATABASE `shop` CHARACTER SET latin1 COLLATE latin1_swedish_ci', { kind: 'alter', name: 'shop' }],
  ['USE `shop`', { kind: 'use', name: 'shop' }],
  ['USE `a``b`', { kind: 'use', name: 'a`b' }],
  ['-- Current Database\n\nUSE  `a  b`', { kind: 'use', name: 'a  b' }],
  ['CREATE TABLE `t` (\n  `a` int\n) ENGINE=ndbcluster', { kind: 'table', name: 't' }],
  ['CREATE TABLE IF NOT EXISTS `t` (a int)', { kind: 'table', name: 't' }],
  ['DROP TABLE IF EXISTS `t`', { kind: 'table', name: 't' }],
  ['/*!50001 DROP VIEW IF EXISTS `v`*/', { kind: 'view', name: 'v' }],
  ['/*!50001 CREATE VIEW `v` AS SELECT \n 1 AS `a`*/', { kind: 'view', name: 'v' }],
  [
    '/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 AS `1`*/',
    { kind: 'view', name: 'v' },
  ],
  [
    '/*!50001 CREATE ALGORITHM=MERGE */\n/*!50013 DEFINER=`a b`@`%` SQL SECURITY INVOKER */\n/*!50001 VIEW `v` AS select 1*/',
    { kind: 'view', name: 'v' },
  ],
  ['CREATE OR REPLACE VIEW `v` AS select 1', { kind: 'view', name: 'v' }],
  [
    '/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `tr` BEFORE INSERT ON `t` FOR EACH ROW SET NEW.a = 1 */',
    { kind: 'trigger', name: 'tr', table: 't' },
  ],
  [
    '/*!50003 CREATE*/ /*!50017 DEFINER=`o``x y`@`%`*/ /*!50003 TRIGGER `a``b` AFTER\nDELETE\nON `t``u` FOR EACH ROW DELETE FROM x ON `y` */',
    { kind: 'trigger', name: 'a`b', table: 't`u' },
  ],
  [
    'CREATE DEFINER="root"@"localhost" TRIGGER "tr" BEFORE INSERT ON "t" FOR EACH ROW SET a = 1',
    { kind: 'trigger', name: 'tr', table: 't' },
  ],
  [
    'CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()\nBEGIN SELECT 1; END',
    { kind: 'routine', name: 'p', routine: 'PROCEDURE' },
  ],
  [
    'CREATE DEFINER=`functional`@`%` PROCEDURE `function`()\nSELECT 1',
    { kind: 'routine', name: 'function', routine: 'PROCEDURE' },
  ],
  ['CREATE DEFINER="a ""b"@"%" PROCEDURE "p ""q"()\nSELECT 1', { kind: 'routine', name: 'p "q', routine: 'PROCEDURE' }],
  [
    'CREATE DEFINER=`root`@`localhost` FUNCTION `procedure`() RETURNS int\nRETURN 1',
    { kind: 'routine', name: 'procedure', routine: 'FUNCTION' },
  ],
  [
    'CREATE DEFINER=root@localhost FUNCTION `f`() RETURNS int RETURN 1',
    { kind: 'routine', name: 'f', routine: 'FUNCTION' },
  ],
  [
    '/*!50106 CREATE*/ /*!50117 DEFINER=`root`@`localhost`*/ /*!50106 EVENT `e` ON SCHEDULE EVERY 1 DAY DO SELECT 1 */',
    { kind: 'event', name: 'e' },
  ],
  ['INSERT INTO `t` VALUES (1)', { kind: 'data', name: 't' }],
  ['INSERT  IGNORE INTO `t` VALUES (1)', { kind: 'data', name: 't' }],
  ['REPLACE INTO `t` VALUES (1)', { kind: 'data', name: 't' }],
  ['LOCK TABLES `t` WRITE', { kind: 'data', name: 't' }],
  ['UNLOCK TABLES', { kind: 'data', name: '' }],
  ['/*!40000 ALTER TABLE `t` DISABLE KEYS */', { kind: 'data', name: 't' }],
  ["/*!50003 SET sql_mode = '' */", { kind: 'session', name: '' }],
  ['SET @@SESSION.SQL_LOG_BIN= 0', { kind: 'session', name: '' }],
  ["SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '3e11fa47:1-5'", { kind: 'server', name: '' }],
  ["CREATE LOGFILE GROUP lg ADD UNDOFILE 'u' ENGINE=ndbcluster", { kind: 'server', name: '' }],
  ["\nALTER TABLESPACE ts ADD DATAFILE 'd' ENGINE=ndbcluster", { kind: 'server', name: '' }],
  ['\\! touch /tmp/x', { kind: 'session', name: '' }],
])('%j is recognised', (statement, expected) => expect(classify(statement)).toEqual(expected))

test.each([
  'voil\u00e0',
  '\u0420\u043e\u0441\u0442',
  '\u5317\u4eac',
  'a\tb',
  'a  b',
  '-- x',
  '/* x */'.replaceAll('*', '+'),
])('the name %s comes through the bytes of the dump', (name) => {
  const bytes = Buffer.from(`USE \`${name}\``).toString('latin1')
  expect(Buffer.from(classify(bytes).name, 'latin1').toString()).toBe(name)
})

const dump = (text: string) => Readable.from([Buffer.from(text)], { objectMode: false })
const run = () => {
  const warnings: string[] = []
  return { signal: new AbortController().signal, warn: (text: string) => void warnings.push(text), warnings }
}
const all: Selection = {
  tables: [
    { database: 'shop', name: 'orders' },
    { database: 'shop', name: 'items' },
    { database: 'voil\u00e0', name: 't' },
  ],
  whole: ['shop', 'voil\u00e0'],
  objects: ['shop', 'voil\u00e0'],
  options: [],
}

describe('createDatabases', () => {
  const text =
    'CREATE DATABASE `shop` /*!40100 DEFAULT CHARACTER SET latin1 */;\nUSE `shop`;\nCREATE TABLE `t` (a int);\nCREATE DATABASE `voil\u00e0`;\nCREATE DATABASE `other`;\n'

  test('makes the chosen ones as the dump says, on every server, and nothing else', async () => {
    const sessions = [fakeSession(), fakeSession()]
    await createDatabases(dump(text), sessions, ['voil\u00e0', 'shop'])
    for (const { asked } of sessions) {
      expect(asked.map((sql) => Buffer.from(sql, 'latin1').toString())).toEqual([
        'CREATE DATABASE `shop` /*!40100 DEFAULT CHARACTER SET latin1 */',
        'CREATE DATABASE `voil\u00e0`',
      ])
    }
  })

  test('makes one that is younger than the dump without its character set', async () => {
    const session = fakeSession()
    await createDatabases(dump(text), [session], ['\u00e0`b'])
    expect(Buffer.from(session.asked.join(), 'latin1').toString()).toBe('CREATE DATABASE IF NOT EXISTS `\u00e0``b`')
  })
})

const objects = `/*!40101 SET NAMES utf8mb4 */;
CREATE DATABASE /*!32312 IF NOT EXISTS*/ \`shop\`;
USE \`shop\`;
CREATE TABLE \`orders\` (a int);
/*!50001 CREATE VIEW \`v\` AS SELECT 1 AS \`a\`*/;
ALTER DATABASE \`shop\` CHARACTER SET latin1 ;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=\`root\`@\`%\`*/ /*!50003 TRIGGER \`on_orders\` BEFORE INSERT ON \`orders\` FOR EACH ROW SET NEW.a = 1 */;;
/*!50003 CREATE*/ /*!50003 TRIGGER \`on_items\` BEFORE INSERT ON \`items\` FOR EACH ROW SET NEW.a = 1 */;;
CREATE DEFINER=\`root\`@\`%\` PROCEDURE \`p\`() BEGIN SELECT 1; END ;;
/*!50106 CREATE*/ /*!50106 EVENT \`e\` ON SCHEDULE EVERY 1 DAY DO SELECT 1 */ ;;
DELIMITER ;
/*!50001 DROP VIEW IF EXISTS \`v\`*/;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50001 VIEW \`v\` AS select 1*/;
CREATE DATABASE \`other\`;
USE \`other\`;
ALTER DATABASE \`other\` CHARACTER SET latin1 ;
/*!50001 CREATE VIEW \`w\` AS SELECT 1 AS \`a\`*/;
CREATE FUNCTION \`f\`() RETURNS int RETURN 1;
SET @@GLOBAL.GTID_PURGED='x';
`

describe('createObjects', () => {
  test('makes views, triggers, routines and events, and neither databases nor tables', async () => {
    const session = fakeSession()
    const counts = await createObjects({ dump: dump(objects), session, selection: all, gaps: false, run: run() })
    expect(counts).toEqual({ view: 1, trigger: 2, routine: 1, event: 1 })
    expect(session.asked.filter((sql) => /CREATE (DATABASE|TABLE)|GLOBAL/.test(sql))).toEqual([])
  })

  test('a database that is left out gives nothing', async () => {
    const session = fakeSession()
    await createObjects({ dump: dump(objects), session, selection: all, gaps: false, run: run() })
    expect(session.asked.filter((sql) => /other|`w`|`f`/.test(sql))).toEqual([])
  })

  test('the trigger of a table that is left out is left out', async () => {
    const session = fakeSession()
    const selection = { ...all, tables: all.tables.filter(({ name }) => name !== 'items'), whole: [] }
    const counts = await createObjects({ dump: dump(objects), session, selection, gaps: true, run: run() })
    expect(counts.trigger).toBe(1)
    expect(session.asked.join()).not.toContain('on_items')
  })

  test('triggers come with tables that were chosen one by one, views and routines do not', async () => {
    const selection = { ...all, tables: [{ database: 'shop', name: 'orders' }], whole: [], objects: [] }
    const counts = await createObjects({
      dump: dump(objects),
      session: fakeSession(),
      selection,
      gaps: true,
      run: run(),
    })
    expect(counts).toEqual({ trigger: 1 })
  })

  test('what a crashed run left is dropped before it is made again', async () => {
    const session = fakeSession()
    await createObjects({ dump: dump(objects), session, selection: all, gaps: false, run: run() })
    const precedes = (made: RegExp) => session.asked[session.asked.findIndex((sql) => made.test(sql)) - 1]
    expect(precedes(/CREATE VIEW `v`/)).toBe('DROP VIEW IF EXISTS `v`')
    expect(precedes(/TRIGGER `on_orders` BEFORE/)).toBe('DROP TRIGGER IF EXISTS `on_orders`')
    expect(precedes(/PROCEDURE `p`\(\)/)).toBe('DROP PROCEDURE IF EXISTS `p`')
    expect(precedes(/EVENT `e` ON/)).toBe('DROP EVENT IF EXISTS `e`')
  })

  const refusing = (errno: number) => fakeSession({ errno: (sql) => (/ALGORITHM/.test(sql) ? errno : undefined) })

  test('a view on a table that is left out is a warning', async () => {
    const context = run()
    const counts = await createObjects({
      dump: dump(objects),
      session: refusing(1146),
      selection: all,
      gaps: true,
      run: context,
    })
    expect(context.warnings).toEqual(['view shop.v was left out: error 1146'])
    expect(counts.view).toBeUndefined()
  })

  test.each<[string, number, boolean]>([
    ['is missing although nothing was left out', 1146, false],
    ['is there, but something else is wrong', 1064, true],
  ])('a view whose table %s is an error', async (_, errno, gaps) => {
    const made = createObjects({ dump: dump(objects), session: refusing(errno), selection: all, gaps, run: run() })
    await expect(made).rejects.toThrow(`error ${errno}`)
  })

  test('ends when the run is aborted', async () => {
    const session = fakeSession()
    const signal = AbortSignal.abort(new Error('stopped'))
    const made = createObjects({ dump: dump(objects), session, selection: all, gaps: false, run: { ...run(), signal } })
    await expect(made).rejects.toThrow('stopped')
    expect(session.asked).toEqual([])
  })
})

test('tables that are not NDB come back with their rows, for the chosen databases', async () => {
  const session = fakeSession()
  const text =
    'USE `shop`;\nCREATE TABLE `log` (a int);\nINSERT INTO `log` VALUES (1);\nUSE `other`;\nCREATE TABLE `x` (a int);\n'
  expect(await createLocalTables({ dump: dump(text), session, selection: all, run: run() })).toBe(1)
  expect(session.asked).toEqual(['USE `shop`', 'CREATE TABLE `log` (a int)', 'INSERT INTO `log` VALUES (1)'])
})
