import { verb } from './verb.ts'

export interface Work {
  verb: 'worker'
}

/** For coordinators, not for people. */
export const worker = verb({
  command: 'worker',
  says: false,
  flags: (y) => y,
  request: (): Work => ({ verb: 'worker' }),
})
