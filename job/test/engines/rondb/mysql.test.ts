import { rootCertificates } from 'node:tls'
import { describe, expect, test } from 'vitest'
import { loginsOf } from '../../../engines/rondb/mysql.ts'
import { Source } from '../../../engines/rondb/values.ts'
import { JobError } from '../../../errors.ts'
import { type Login, optionFile, quoteName, quoteText } from '../../../io/mysql.ts'

const login: Login = {
  server: 'db:3306',
  host: 'db',
  port: 3306,
  user: 'backup',
  password: 'x',
  tls: { mode: 'verify-identity' },
  tlsAt: 'mysql.tls',
}

describe('the option file of the clients', () => {
  test('names the server, the account and what is asked of TLS', () => {
    expect(optionFile(login, { 'ssl-ca': '/dev/fd/4' })).toBe(
      [
        '[client]',
        'user="backup"',
        'password="x"',
        'host="db"',
        'port="3306"',
        'protocol="TCP"',
        'ssl-mode="VERIFY_IDENTITY"',
        'ssl-ca="/dev/fd/4"',
        '',
      ].join('\n'),
    )
  })

  test('asks the same of TLS in the words of MariaDB', () => {
    const asked = (tls: Login['tls']) => optionFile({ ...login, tls }, {}, 'MariaDB').split('protocol="TCP"\n')[1]
    expect(asked({ mode: 'verify-identity' })).toBe('ssl="1"\nssl-verify-server-cert="1"\n')
    expect(asked({ mode: 'required' })).toBe('ssl="1"\nssl-verify-server-cert="0"\n')
    expect(asked({ mode: 'disabled' })).toBe('ssl="0"\n')
  })

  test('of a socket names no host', () => {
    const { host, port, ...rest } = login
    const text = optionFile({ ...rest, socketPath: '/run/mysql.sock' }, {})
    expect(text).toContain('socket="/run/mysql.sock"\nprotocol="SOCKET"\nssl-mode="PREFERRED"')
    expect(text).not.toMatch(/^(host|port)=/m)
  })

  test.each([
    ['verify-ca', 'VERIFY_CA'],
    ['required', 'REQUIRED'],
    ['disabled', 'DISABLED'],
  ] as const)('says %s as %s', (mode, option) => {
    expect(optionFile({ ...login, tls: { mode } }, {})).toContain(`ssl-mode="${option}"\n`)
  })

  test.each([
    ['plain', 'plain'],
    ['two words', 'two words'],
    [' spaces at the ends ', ' spaces at the ends '],
    ['#no; comment', '#no; comment'],
    ["it's", "it's"],
    ['a"b', 'a\\"b'],
    ['a\\b', 'a\\\\b'],
    ['\\', '\\\\'],
    ['a\\"b', 'a\\\\\\"b'],
    ['a\nb', 'a\\nb'],
    ['a\\nb', 'a\\\\nb'],
    ['p\u00e4ss', 'p\u00e4ss'],
    ['[client]', '[client]'],
    ['', ''],
  ])('writes the password %j as %j, on one line', (password, written) => {
    expect(optionFile({ ...login, password }, {}).split('\n')[2]).toBe(`password="${written}"`)
  })
})

test.each([
  ['orders', '`orders`'],
  ['a`b', '`a``b`'],
  ['a b; DROP', '`a b; DROP`'],
])('the name %s is quoted as %s', (name, quoted) => expect(quoteName(name)).toBe(quoted))

test.each([
  ['plain', "'plain'"],
  ["it's", "'it''s'"],
  ["\\'; DROP", "'\\\\''; DROP'"],
  ['a"b', "'a\"b'"],
])('the text %s is quoted as %s', (text, quoted) => expect(quoteText(text)).toBe(quoted))

describe('logins', () => {
  const [certificate = ''] = rootCertificates
  const secret = (ref: { secret: string }, key: string, at: string) => {
    if (key === 'missing') throw new JobError('configuration', `${at}: secret ${ref.secret} has no readable key ${key}`)
    if (key.endsWith('.crt') && ref.secret !== 'db') return certificate
    return `${ref.secret}/${key}`
  }
  const credentials = { secret: 'db' }
  const mysql = (values: object) => Source.shape.mysql.parse({ credentials, ...values })
  const logins = (values: object) => loginsOf(mysql(values), { secret }, 'backups.nightly.sources.0.rondb')

  test.each<[string, object, object[]]>([
    ['a host', { host: 'db' }, [{ server: 'db:3306', host: 'db', port: 3306 }]],
    ['a host and a port', { host: 'db', port: 3307 }, [{ server: 'db:3307', host: 'db', port: 3307 }]],
    ['an IPv6 host', { host: 'fd00::5' }, [{ server: '[fd00::5]:3306', host: 'fd00::5', port: 3306 }]],
    ['a socket', { socket: '/run/m.sock' }, [{ server: '/run/m.sock', socketPath: '/run/m.sock' }]],
    [
      'several servers',
      { servers: ['a', 'b:3307', '[::1]:3308', '[::2]', '/run/m.sock'] },
      [
        { server: 'a', host: 'a', port: 3306 },
        { server: 'b:3307', host: 'b', port: 3307 },
        { server: '[::1]:3308', host: '::1', port: 3308 },
        { server: '[::2]', host: '::2', port: 3306 },
        { server: '/run/m.sock', socketPath: '/run/m.sock' },
      ],
    ],
  ])('of %s', (_, values, expected) => {
    const account = {
      user: 'db/username',
      password: 'db/password',
      tls: { mode: 'verify-identity' },
      tlsAt: 'mysql.tls',
    }
    expect(logins(values)).toEqual(expected.map((address) => ({ ...address, ...account })))
  })

  test('take the name of the account from the values, and certificates from Secrets', () => {
    const tls = { mode: 'verify-ca', ca: { secret: 'ca' }, cert: { secret: 'me' }, key: { secret: 'me' } }
    expect(
      logins({ host: 'db', credentials: { secret: 'db', username: 'helm', passwordKey: 'helm' }, tls }),
    ).toMatchObject([
      {
        user: 'helm',
        password: 'db/helm',
        tls: { mode: 'verify-ca', ca: certificate, cert: certificate, key: 'me/tls.key' },
      },
    ])
  })

  test('name the value whose secret is missing', () => {
    expect(() => logins({ host: 'db', credentials: { secret: 'db', passwordKey: 'missing' } })).toThrow(
      'backups.nightly.sources.0.rondb.mysql.credentials: secret db has no readable key missing',
    )
  })

  test('name the value whose secret holds no certificate', () => {
    expect(() => logins({ host: 'db', credentials, tls: { ca: { secret: 'db' } } })).toThrow(
      'backups.nightly.sources.0.rondb.mysql.tls.ca: the key of the secret holds no certificate',
    )
  })

  test.each([
    {},
    { host: 'a', socket: '/b' },
    { host: 'a', servers: ['b'] },
    { servers: [] },
    { servers: ['a b'] },
    { servers: ['fd00::5'] },
  ])('of %j are refused', (values) => expect(() => mysql(values)).toThrow())
})
