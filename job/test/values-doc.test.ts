import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const script = fileURLToPath(new URL('../../test_scripts/values-doc.ts', import.meta.url))

test('docs/values.md says what the schemas and the flags say', async () => {
  const checked = await promisify(execFile)(process.execPath, [script, '--check']).catch((error) => error)
  expect(checked).toMatchObject({ stderr: '' })
  expect(checked).not.toHaveProperty('code')
})
