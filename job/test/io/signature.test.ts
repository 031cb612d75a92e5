import { spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { isSignatureOf, publicKeyOf, signatureOf, signingKey } from '../../io/signature.ts'
import { seeded } from '../fakes/seeded.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
const content = { b: [1, { y: 'é\n"', x: null }], a: { '2': true, '10': 1.5e-9 }, gone: undefined }

test('the order of keys, spaces and what JSON leaves out change nothing', () => {
  const signature = signatureOf(content, privateKey)
  const other = JSON.parse('{ "a": {"10": 0.0000000015, "2": true},\n "b": [1, {"x": null, "y": "\\u00e9\\n\\""}] }')
  expect(isSignatureOf(signature, other)).toBe(true)
})

test('anything else does', () => {
  const signature = signatureOf(content, privateKey)
  for (const changed of [
    { ...content, c: 1 },
    { ...content, a: {} },
    { ...content, b: [...content.b].reverse() },
  ])
    expect(isSignatureOf(signature, changed)).toBe(false)
  expect(isSignatureOf({ ...signature, key: 'AAAA' }, content)).toBe(false)
  expect(isSignatureOf({ ...signature, value: '' }, content)).toBe(false)
  const random = seeded(8)
  for (let i = 0; i < 100; i++) {
    const value = Buffer.from(signature.value, 'base64')
    const at = random(value.length)
    value[at] = (value[at] as number) ^ (1 << random(8))
    expect(isSignatureOf({ ...signature, value: value.toString('base64') }, content)).toBe(false)
  }
})

test('openssl checks it over what jq prints', () => {
  const folder = mkdtempSync(join(tmpdir(), 'signature-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = (name: string, bytes: string | Buffer) => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
  }
  const signature = signatureOf({ b: 'ö', a: [1] }, privateKey)
  const printed = '{"a":[1],"b":"ö"}'
  const command = ['pkeyutl', '-verify', '-pubin', '-rawin']
  const files = [
    ['-inkey', file('public.pem', publicPem)],
    ['-in', file('signed', printed)],
    ['-sigfile', file('signature', Buffer.from(signature.value, 'base64'))],
  ]
  expect(spawnSync('openssl', [...command, ...files.flat()], { encoding: 'utf8' })).toMatchObject({ status: 0 })
})

test('a public key is known as PEM and as its base64', () => {
  const text = publicKeyOf(publicPem, 'here')
  expect(text).toMatch(/^MCowBQYDK2VwAyEA.{44}$/)
  expect(publicKeyOf(` ${text}\n`, 'here')).toBe(text)
  expect(signatureOf({}, signingKey(pem, 'here')).key).toBe(text)
})

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

test.each([
  ['nothing', ''],
  ['a private key', pem],
  ['a word', 'trustme'],
  ['a key of RSA', rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString()],
])('%s is refused where a public key is asked for', (_, text) => {
  expect(() => publicKeyOf(text, 'restores.once.trust.0')).toThrow(
    expect.objectContaining({
      kind: 'configuration',
      message: expect.stringMatching(/^restores\.once\.trust\.0: no public/),
    }),
  )
})

test.each([
  ['nothing', ''],
  ['a public key', publicPem],
  ['a key of RSA', rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()],
])('%s is refused where a private key is asked for, and not said', (_, text) => {
  const reading = () => signingKey(text, 'backups.nightly.signing')
  expect(reading).toThrow(expect.objectContaining({ kind: 'configuration' }))
  expect(reading).not.toThrow(/KEY-----/)
})
