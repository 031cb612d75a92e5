import type { Logger } from 'pino'

/** Counts bytes by name, such as a data node or a part, while a run works. */
export interface Progress {
  /** Begins a phase; `total` in bytes when it is known. */
  begin(phase: string, total?: number): void
  add(name: string, bytes: number): void
  /** Ends the bar or the lines; gives the bytes of the phase. */
  end(): number
}

const everyMs = 10_000
const barMs = 200

/** Names in a line or a bar, at most: a backup may have thousands of parts. */
const mostNames = 8

/** A bar on a terminal, a log line every 10 s otherwise: bytes, rate, and the names that moved since the last one. */
export function progressTo({
  log,
  stream,
  now = Date.now,
}: {
  log: Logger
  stream: NodeJS.WriteStream
  now?: () => number
}): Progress {
  let phase = ''
  let total: number | undefined
  let started = now()
  let done = new Map<string, number>()
  let moved = new Set<string>()
  let last = { at: now(), bytes: 0 }
  let timer: NodeJS.Timeout | undefined

  const bytes = () => [...done.values()].reduce((sum, one) => sum + one, 0)

  /** The largest of those that moved since it was asked last. */
  function moving(): [string, number][] {
    const names = [...moved].map((name): [string, number] => [name, done.get(name) ?? 0])
    moved = new Set()
    return names.sort(([, one], [, other]) => other - one).slice(0, mostNames)
  }

  function line(): void {
    const rate = ((bytes() - last.bytes) / Math.max(1, now() - last.at)) * 1000
    last = { at: now(), bytes: bytes() }
    log.info(
      { phase, bytes: bytes(), total, bytesPerSecond: Math.round(rate), by: Object.fromEntries(moving()) },
      'in progress',
    )
  }

  function bar(): void {
    const sum = bytes()
    const rate = (sum / Math.max(1, now() - started)) * 1000
    const width = 24
    const part = total ? Math.min(1, Math.max(0, sum / total)) : 0
    const drawn = total ? `[${'='.repeat(Math.round(part * width)).padEnd(width)}] ${Math.round(part * 100)}% ` : ''
    const names = moving()
      .map(([name, one]) => `${name} ${megabytes(one)}`)
      .join(', ')
    stream.write(
      `\r\x1b[K${phase} ${drawn}${megabytes(sum)} at ${megabytes(rate)}/s (${names})`.slice(
        0,
        (stream.columns ?? 80) + 4,
      ),
    )
  }

  function end(): number {
    if (timer !== undefined && stream.isTTY) stream.write('\r\x1b[K')
    clearInterval(timer)
    timer = undefined
    return bytes()
  }

  return {
    begin: (name, size) => {
      end()
      phase = name
      total = size
      started = now()
      done = new Map()
      moved = new Set()
      last = { at: started, bytes: 0 }
      timer = setInterval(stream.isTTY ? bar : line, stream.isTTY ? barMs : everyMs)
      timer.unref()
    },
    add: (name, count) => {
      done.set(name, (done.get(name) ?? 0) + count)
      moved.add(name)
    },
    end,
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
}
