import { z } from 'zod'
import { clientsFolder } from '../io/connection.ts'
import type { StorageKind } from './kind.ts'
import { ServerTls } from './tls.ts'

const key = z.string().min(1)
const secret = key.describe('Name of the Secret')

const schema = z.strictObject({
  remote: z
    .string()
    .regex(/^[^:,/[\]]+$/, 'is the name alone; what would follow its colon goes into `path`')
    .describe('Name of the remote: a section of the config file'),
  path: z
    .string()
    .regex(/^[^[\]]*$/, 'cannot have [ or ]')
    .default('')
    .describe('Folder in the remote under which everything is kept; where there are buckets, the bucket first'),
  config: z
    .strictObject({ secret, key: key.default('rclone.conf').describe('Key of the config file in the Secret') })
    .describe('The config file, as `rclone config` writes it'),
  configPassword: z
    .strictObject({ secret, key: key.default('password').describe('Key of the password in the Secret') })
    .optional()
    .describe('Password of an encrypted config file'),
  tls: ServerTls.prefault({}).describe('How the certificates of servers are checked'),
  timeoutSeconds: z.number().positive().default(60).describe('How long a server may be silent in a request'),
  clients: clientsFolder.describe('Folder with the program rclone; the one on the PATH unless told'),
})
export type RcloneOptions = z.output<typeof schema>

/** Any remote that rclone knows. */
export const rclone: StorageKind<typeof schema> = {
  name: 'rclone',
  schema,
  place: ({ config, remote, path }) => [config.secret, config.key, remote, path.replace(/\/+$/, '')],
  open: async (options, context) => (await import('./rclone.ts')).openRclone(options, context),
}
