import { plan } from './flags.ts'
import { verb } from './verb.ts'

export interface Check {
  verb: 'check'
  plan: string
}

export const check = verb({
  command: 'check <plan>',
  says: 'see whether a backup could be taken now; writes nothing',
  flags: (y) => plan(y),
  request: ({ plan }): Check => ({ verb: 'check', plan }),
})
