import { z } from 'zod'

/** The pattern is what the chart's schema knows of it. */
export const httpUrl = z
  .string()
  .regex(/^https?:\/\//, { error: 'must begin with http:// or https://', abort: true })
  .refine((text) => URL.canParse(text), 'is no URL')
