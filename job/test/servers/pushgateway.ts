import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePort, listening } from './s3.ts'

export interface PushgatewayServer {
  url: string
  /** What Prometheus would scrape of us, without what the gateway says of itself. */
  samples(): Promise<Sample[]>
  stop(): Promise<void>
}

export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

/** A real Pushgateway, as test_scripts/pushgateway finds it. undefined, and a line why, when there is none. */
export async function findPushgateway(): Promise<string | undefined> {
  const script = fileURLToPath(new URL('../../../test_scripts/pushgateway', import.meta.url))
  try {
    return (await promisify(execFile)(script)).stdout.trim()
  } catch (cause) {
    const reason = 'no Pushgateway: put one on the PATH'
    if (process.env.CI) throw new Error(reason, { cause })
    console.log(`skipped, ${reason}`)
    return undefined
  }
}

/** On loopback, in memory alone. `webConfig`: a file that gives it TLS or accounts; then nobody may read its samples here. */
export async function startPushgateway(
  program: string,
  { webConfig }: { webConfig?: string } = {},
): Promise<PushgatewayServer> {
  const address = `127.0.0.1:${await freePort()}`
  const args = [`--web.listen-address=${address}`, '--persistence.file=', `--web.config.file=${webConfig ?? ''}`]
  const child = spawn(program, args, { stdio: 'ignore' })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  await listening(child, Number(address.split(':')[1]))
  const url = `http://${address}`
  return {
    url,
    samples: async () => samplesIn(await (await fetch(`${url}/metrics`)).text()),
    stop: async () => {
      process.removeListener('exit', kill)
      const ended = child.exitCode === null ? once(child, 'exit') : undefined
      kill()
      await ended
    },
  }
}

function samplesIn(text: string): Sample[] {
  const lines = text.matchAll(/^(holdfast_\w+)\{(.*)\} (\S+)$/gm)
  return [...lines].map(([, name = '', labels = '', value]) => ({
    name,
    labels: labelsIn(labels),
    value: Number(value),
  }))
}

function labelsIn(text: string): Record<string, string> {
  const pairs = text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)
  return Object.fromEntries([...pairs].map(([, name = '', value = '']) => [name, JSON.parse(`"${value}"`) as string]))
}
