import type { Argv } from 'yargs'
import { pick, plan, storages } from './flags.ts'
import { verb } from './verb.ts'

export interface Verify {
  verb: 'verify'
  plan: string
  pick: string | undefined
  all: boolean
  level: 'present' | 'content' | 'readable'
  /** Of the bytes, more than 0 to 1. */
  sample: number | undefined
  seed: number | undefined
  storages: string[] | undefined
}

export const verify = verb({
  command: 'verify <plan> [pick]',
  says: 'check backups against their manifests',
  flags,
  request: ({ plan, pick, all, level, sample, seed, storage }): Verify => ({
    verb: 'verify',
    plan,
    pick,
    all,
    level,
    sample: sample === undefined ? undefined : fractionOf(sample),
    seed,
    storages: storage,
  }),
})

function flags(y: Argv) {
  return storages(pick(plan(y), undefined))
    .option('all', { type: 'boolean', default: false, describe: 'every backup of the plan' })
    .option('level', {
      choices: ['present', 'content', 'readable'] as const,
      default: 'content' as const,
      describe: "there with the right size · read again, same sha256 · readable by the engine's tools too",
    })
    .option('sample', {
      type: 'string',
      requiresArg: true,
      describe:
        'read only so much of the content, such as 5%: whole parts by chance, at least one of every source; presence and size are checked of all',
    })
    .option('seed', { type: 'number', requiresArg: true, describe: 'read the same sample as a run that printed this' })
    .check(({ sample, level, seed }) => {
      if (sample !== undefined && fractionOf(sample) === undefined)
        return '--sample is more than 0% and at most 100%, such as 5%'
      if (sample !== undefined && level !== 'content') return `--sample does not go with --level ${level}`
      if (seed !== undefined && sample === undefined) return '--seed goes with --sample'
      return seed === undefined || Number.isSafeInteger(seed) || '--seed is a whole number'
    })
    .example('holdfast verify nightly --all --level present', 'look for missing and cut parts of every backup')
    .example('holdfast verify nightly --sample 5%', 'read a twentieth of the newest one: another one each time')
}

/** Undefined when it is none. */
function fractionOf(percent: string): number | undefined {
  const [, digits] = /^(\d+(?:\.\d+)?)%$/.exec(percent) ?? []
  const fraction = Number(digits) / 100
  return fraction > 0 && fraction <= 1 ? fraction : undefined
}
