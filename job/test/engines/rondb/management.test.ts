import { describe, expect, test } from 'vitest'
import { epochOf, parseBackup, parseShow } from '../../../engines/rondb/management.ts'

const ndb = `Connected to management server at localhost port 1186 (using cleartext)
Cluster Configuration
---------------------
[ndbd(NDB)]\t3 node(s)
id=1\t@127.0.0.1  (mysql-9.7.2 ndb-9.7.2, Nodegroup: 0, *)
id=2\t@127.0.0.1  (mysql-9.7.2 ndb-9.7.2, Nodegroup: 0)
id=3 (not connected, accepting connect from 127.0.0.1)

[ndb_mgmd(MGM)]\t1 node(s)
id=65\t@127.0.0.1  (mysql-9.7.2 ndb-9.7.2)

[mysqld(API)]\t5 node(s)
id=66\t@127.0.0.1  (mysql-9.7.2 ndb-9.7.2)
id=67 (not connected, accepting connect from 127.0.0.1)
id=70 (not connected, accepting connect from any host)
id=71\t@127.0.0.1  (mysql-9.7.2 ndb-9.7.2)
id=72 (not connected, accepting connect from any host)

`

const rondb = `Cluster Configuration
---------------------
[ndbd(NDB)]\t6 node(s)
id=1\t@10.0.0.5  (RonDB-24.10.1, Nodegroup: 0, *)
id=2\t@fd00::5  (RonDB-24.10.1, starting, Nodegroup: 0)
id=3 (not connected, node is deactivated)
id=4\t@2001:db8::1:2  (RonDB-24.10.1, Nodegroup: 1)
id=5\t@10.0.0.7  (RonDB-24.10.1, no nodegroup)
id=6\t@10.0.0.8  (RonDB-24.10.1, single user mode, Nodegroup: 1)

[ndb_mgmd(MGM)]\t1 node(s)
id=65\t@10.0.0.2  (RonDB-24.10.1)

[mysqld(API)]\t2 node(s)
id=67 (not connected, node is deactivated)
id=68 (not connected, accepting connect from any host, allowed single user)
`

describe('SHOW', () => {
  test('of NDB tells the nodes, their groups and the free slots that take any host', () => {
    expect(parseShow(ndb)).toEqual({
      product: 'NDB',
      version: '9.7.2',
      dataNodes: [
        { id: 1, state: 'started', address: '127.0.0.1', group: 0 },
        { id: 2, state: 'started', address: '127.0.0.1', group: 0 },
        { id: 3, state: 'down' },
      ],
      freeSlots: [70, 72],
    })
  })

  test('of RonDB tells starting nodes, reserved slots and IPv6 addresses', () => {
    expect(parseShow(rondb)).toEqual({
      product: 'RonDB',
      version: '24.10.1',
      dataNodes: [
        { id: 1, state: 'started', address: '10.0.0.5', group: 0 },
        { id: 2, state: 'starting', address: 'fd00::5', group: 0 },
        { id: 3, state: 'inactive' },
        { id: 4, state: 'started', address: '2001:db8::1:2', group: 1 },
        { id: 5, state: 'starting', address: '10.0.0.7' },
        { id: 6, state: 'starting', address: '10.0.0.8', group: 1 },
      ],
      freeSlots: [68],
    })
  })

  test.each([
    '',
    'Unable to connect with connect string: nodeid=0,localhost:1186',
    ndb.replaceAll(/^id=[123].*$/gm, ''),
  ])('that says nothing of data nodes is an error', (text) =>
    expect(() => parseShow(text)).toThrow(expect.objectContaining({ kind: 'server' })),
  )
})

const says = (...lines: string[]) =>
  [
    'Connected to management server at localhost port 1186',
    'Waiting for completed, this may take several minutes',
    ...lines,
    '',
  ].join('\n')

describe('START BACKUP', () => {
  test('is done when it says so, with its counts', () => {
    const text = says(
      'Node 1: Backup 1795218000 started from node 65',
      'Node 2: Local checkpoint 7 started',
      'Node 1: Backup 1795218000 started from node 65 completed',
      ' StartGCP: 24 StopGCP: 27',
      ' #Records: 131123 #LogRecords: 4',
      ' Data: 35441700 bytes Log: 12 bytes',
    )
    expect(parseBackup(text, '1795218000')).toEqual({
      done: { startGcp: 24, stopGcp: 27, records: 131_123, logRecords: 4, bytes: 35_441_700, logBytes: 12 },
    })
  })

  test.each<[string, string, string]>([
    [
      'its id is taken',
      'id-taken',
      "Backup failed\n*  3001: Could not start backup\n*        Backup failed: file already exists (use 'START BACKUP <backup id>'): Permanent error: Internal error",
    ],
    [
      'another one runs',
      'other-running',
      'Backup failed\n*  3001: Could not start backup\n*        A backup is already running: Temporary error: Temporary Resource error',
    ],
  ])('is refused when %s', (_, refused, text) => {
    expect(parseBackup(says(...text.split('\n')), '5')).toMatchObject({
      refused,
      text: expect.stringContaining('3001'),
    })
  })

  test.each([
    "Backup failed\n*  Encryption password has bad character/s (see 'HELP START BACKUP')",
    'Error: backup password: backup password has some bad character.',
  ])('names a password that NDB does not take: %j', (text) => {
    expect(() => parseBackup(text, '5')).toThrow(
      expect.objectContaining({ kind: 'configuration', message: expect.stringContaining('encryption password') }),
    )
  })

  test.each([
    [
      'a node failed',
      says(
        'Node 1: Backup 5 started from 65 has been aborted. Error: 1326',
        'Backup failed',
        '*  3001: Backup aborted due to node failure',
      ),
    ],
    [
      'it was aborted',
      says('Node 1: Backup 5 started from node 65', 'Node 1: Backup 5 started from 65 has been aborted. Error: 1321'),
    ],
    [
      'only another one is done',
      says(
        'Node 1: Backup 55 started from node 65 completed',
        ' StartGCP: 1 StopGCP: 2',
        ' #Records: 1 #LogRecords: 0',
        ' Data: 1 bytes Log: 0 bytes',
      ),
    ],
    ['its counts are missing', says('Node 1: Backup 5 started from node 65 completed', ' StartGCP: 1 StopGCP: 2')],
    ['it only began', says('Node 1: Backup 5 started from node 65')],
    ['nothing was said', ''],
  ])('fails when %s, whatever ndb_mgm ends with', (_, text) => {
    expect(() => parseBackup(text, '5')).toThrow(
      expect.objectContaining({ kind: 'server', message: expect.stringContaining('START BACKUP 5 failed') }),
    )
  })
})

test.each([
  [0, '4294967295'],
  [27, '120259084287'],
  [2_147_483_647, '9223372036854775807'],
])('the epoch of stop GCP %d is %s', (stopGcp, epoch) => expect(epochOf(stopGcp)).toBe(epoch))
