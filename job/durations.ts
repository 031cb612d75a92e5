import { z } from 'zod'

export const duration = z
  .string()
  .regex(/^[1-9]\d*[smhd]$/, 'a duration is a number with s, m, h or d, such as 48h')
  .describe('a number with s, m, h or d')

/** Seconds of a duration such as 48h. */
export function seconds(text: string): number {
  const unit = { s: 1, m: 60, h: 3600, d: 86400 }[text.at(-1) as 's' | 'm' | 'h' | 'd']
  return Number(text.slice(0, -1)) * unit
}
