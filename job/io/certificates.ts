import { X509Certificate } from 'node:crypto'
import { JobError, textOf } from '../errors.ts'

/** The text when it holds a certificate: of anything else OpenSSL says nothing and trusts nobody. `at`: the value that names it. */
export function certificates(text: string, at: string): string {
  try {
    new X509Certificate(text)
    return text
  } catch (cause) {
    throw new JobError('configuration', `${at}: the key of the secret holds no certificate: ${textOf(cause)}`, {
      hint: 'it is a PEM file, which begins with -----BEGIN CERTIFICATE-----',
    })
  }
}
