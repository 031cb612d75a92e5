import type { SecretReader } from '../../engine.ts'
import type { Storage } from '../../storage.ts'
import { openRclone } from '../../storages/rclone.ts'
import { rclone } from '../../storages/rclone-values.ts'
import type { S3Server } from '../servers/s3.ts'

export interface RemoteOptions {
  /** Folder of the program. */
  clients: string
  config: string
  remote: string
  path?: string
  /** More of the values under `rclone`. */
  values?: object
  /** Of the Secret `rclone`, beside its config. */
  secrets?: Record<string, string>
  secret?: SecretReader
}

/** The storage `offsite` in a remote that rclone knows. */
export function openRemote({ clients, config, remote, path = '', values, secrets, secret }: RemoteOptions): Storage {
  const options = rclone.schema.parse({ clients, remote, path, config: { secret: 'rclone' }, ...values })
  const texts: Record<string, string> = { 'rclone.conf': config, ...secrets }
  return openRclone(options, {
    name: 'offsite',
    at: 'storages.offsite',
    secret: secret ?? ((_, key) => texts[key] ?? ''),
    secretPath: () => '',
    volumesDir: '/nowhere',
  })
}

/** A section of a config file for a test server. */
export function s3Section({
  endpoint,
  accessKey,
  secretKey,
}: Pick<S3Server, 'endpoint' | 'accessKey' | 'secretKey'>): string {
  return [
    '[bucket]',
    'type = s3',
    'provider = Other',
    `endpoint = ${endpoint}`,
    `access_key_id = ${accessKey}`,
    `secret_access_key = ${secretKey}`,
    'region = us-east-1',
    '',
  ].join('\n')
}
