import { expect, test } from 'vitest'
import { refuseUnread } from '../../commands/restore.ts'

type Arguments = Parameters<typeof refuseUnread>

const plain = { parts: [{ path: 'a', age: undefined }] } as unknown as Arguments[1]
const encrypted = { parts: [{ path: 'a.age', age: { recipients: ['age1'], header: '' } }] } as unknown as Arguments[1]
const trusting = { at: 'restores.once', trust: { keys: [] } } as unknown as Arguments[0]
const believing = { at: 'restores.once', trust: undefined } as unknown as Arguments[0]
const targets = (verify: string | undefined) =>
  [{ at: 'restores.once.targets.0', run: { target: { verify } } }] as unknown as Arguments[2]

test('what is read while it is loaded cannot be trusted for its signature, unless it is encrypted', () => {
  expect(() => refuseUnread(trusting, plain, targets('during'))).toThrow(
    'restores.once.targets.0: verify: during does not go with trust',
  )
  for (const [request, manifest, verify] of [
    [trusting, plain, 'before'],
    [trusting, plain, undefined],
    [trusting, encrypted, 'during'],
    [believing, plain, 'during'],
  ] as const)
    expect(() => refuseUnread(request, manifest, targets(verify))).not.toThrow()
})
