import { found, freePort, listeningProgram } from './programs.ts'

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
export const findPushgateway = () => found('pushgateway', 'no Pushgateway: put one on the PATH')

/** On loopback, in memory alone. `webConfig`: a file that gives it TLS or accounts; then nobody may read its samples here. */
export async function startPushgateway(
  program: string,
  { webConfig }: { webConfig?: string } = {},
): Promise<PushgatewayServer> {
  const port = await freePort()
  const address = `127.0.0.1:${port}`
  const args = [`--web.listen-address=${address}`, '--persistence.file=', `--web.config.file=${webConfig ?? ''}`]
  const stop = await listeningProgram(program, { args, port })
  const url = `http://${address}`
  return { url, samples: async () => samplesIn(await (await fetch(`${url}/metrics`)).text()), stop }
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
