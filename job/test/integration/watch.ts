import { readdirSync, readFileSync } from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

/** A process that showed a secret to everybody on the machine. */
export interface Shown {
  pid: number
  where: 'cmdline' | 'environ'
  /** The secret's name, not the secret. */
  secret: string
  command: string
  /** Whether this process started it, itself or through others. */
  ours: boolean
}

export interface Watch {
  /** Resolves when a process with this in its command line has shown something. */
  shows(command: string): Promise<Shown>
  /** Ends the watch: what was shown, and the commands that were looked at. */
  end(): Promise<{ shown: Shown[]; commands: string[] }>
}

/** Reads the command line and environment of every process of the machine, again and again, in a thread of its own. */
export function watchProcesses(secrets: Record<string, string>): Watch {
  const worker = new Worker(new URL(import.meta.url), { workerData: { secrets } })
  const shown: Shown[] = []
  const waiting = new Map<string, (shown: Shown) => void>()
  const commands = new Promise<string[]>((resolve, reject) => {
    worker.on('error', reject)
    worker.on('message', (message: Shown | { commands: string[] }) => {
      if ('commands' in message) return resolve(message.commands)
      shown.push(message)
      for (const [command, found] of waiting) if (message.command.includes(command)) found(message)
    })
  })
  return {
    shows: (command) => {
      const found = shown.find((one) => one.command.includes(command))
      return found ? Promise.resolve(found) : new Promise((resolve) => waiting.set(command, resolve))
    },
    end: async () => {
      worker.postMessage('end')
      return { shown, commands: await commands }
    },
  }
}

if (!isMainThread && parentPort && workerData?.secrets) watch(parentPort, Object.entries(workerData.secrets))

function watch(port: NonNullable<typeof parentPort>, secrets: [string, string][]): void {
  const seen = new Set<string>()
  const commands = new Set<string>()
  let ended = false
  port.once('message', () => {
    ended = true
  })
  const round = () => {
    if (ended) return port.postMessage({ commands: [...commands] })
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      const cmdline = textOf(pid, 'cmdline')
      const command = cmdline.replaceAll('\0', ' ')
      commands.add(command)
      const texts = { cmdline, environ: textOf(pid, 'environ') }
      for (const [where, text] of Object.entries(texts)) {
        for (const [secret] of secrets.filter(([, value]) => text.includes(value))) {
          const key = `${pid} ${where} ${secret}`
          if (seen.has(key)) continue
          seen.add(key)
          port.postMessage({ pid: Number(pid), where, secret, command, ours: isOurs(pid) })
        }
      }
    }
    setImmediate(round)
  }
  round()
}

function isOurs(pid: string): boolean {
  const parent = /^\d+ \(.*\) \S (\d+)/s.exec(textOf(pid, 'stat'))?.[1]
  if (parent === undefined || parent === '0') return false
  return Number(parent) === process.pid || isOurs(parent)
}

/** Empty for a process that is gone. */
function textOf(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch {
    return ''
  }
}
