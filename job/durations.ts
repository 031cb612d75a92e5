import { z } from 'zod'

const noUnit = 'has no unit: s, m, h or d, such as 14d'

export const duration = z
  .string({ error: ({ input }) => (typeof input === 'number' ? noUnit : undefined) })
  .regex(/^[1-9]\d*[smhd]$/, {
    error: ({ input }) => (/^\d+$/.test(`${input}`) ? noUnit : 'a duration is a number with s, m, h or d, such as 48h'),
  })
  .describe('a number with s, m, h or d')

/** Seconds of a duration such as 48h. */
export function seconds(text: string): number {
  const unit = { s: 1, m: 60, h: 3600, d: 86400 }[text.at(-1) as 's' | 'm' | 'h' | 'd']
  return Number(text.slice(0, -1)) * unit
}
