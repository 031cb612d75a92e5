import { type Logger, pino } from 'pino'

/** JSON lines on standard error, readable ones on a terminal. Written at once: nothing is lost when the process ends. */
export async function openLog({ level, stream }: { level: string; stream: NodeJS.WriteStream }): Promise<Logger> {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  }
  if (!stream.isTTY) return pino(options, pino.destination({ fd: 2, sync: true }))
  const { PinoPretty } = await import('pino-pretty')
  return pino(
    { level, base: null },
    PinoPretty({
      destination: 2,
      sync: true,
      colorize: true,
      ignore: 'pid,hostname',
      translateTime: 'HH:MM:ss',
      singleLine: true,
    }),
  )
}
