import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

export interface Certificate {
  /** PEM files. */
  cert: string
  key: string
  dispose(): Promise<void>
}

/** A certificate for 127.0.0.1 that nobody trusts. undefined, and a line why, without openssl. */
export async function selfSigned(): Promise<Certificate | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-tls-'))
  const cert = join(folder, 'cert.pem')
  const key = join(folder, 'key.pem')
  const dispose = () => rm(folder, { recursive: true })
  try {
    await promisify(execFile)('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
    ])
    return { cert, key, dispose }
  } catch (cause) {
    await dispose()
    if (process.env.CI) throw new Error('no openssl to make a certificate with', { cause })
    console.log('skipped, no openssl to make a certificate with')
    return undefined
  }
}
