import type { S3Options } from './s3-values.ts'

const dayMs = 86_400_000
const modes = { governance: 'GOVERNANCE', compliance: 'COMPLIANCE' } as const

/**
 * Parameters of a request that writes an object into a bucket with object lock. The checksum goes with every write then, parts too: AWS takes no
 * locked object without one, and which of them the bucket locks by itself nobody here knows.
 */
export function lockedFor({ objectLock }: S3Options, { unlocked, now }: { unlocked: boolean; now: Date }) {
  if (!objectLock) return {}
  if (unlocked) return checksumFor({ objectLock })
  return {
    ...checksumFor({ objectLock }),
    ObjectLockMode: modes[objectLock.mode],
    ObjectLockRetainUntilDate: new Date(now.getTime() + objectLock.days * dayMs),
  }
}

export function checksumFor({ objectLock }: Pick<S3Options, 'objectLock'>): { ChecksumAlgorithm?: 'CRC32' } {
  return objectLock ? { ChecksumAlgorithm: 'CRC32' } : {}
}
