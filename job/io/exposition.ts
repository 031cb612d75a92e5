/** What Prometheus reads: the text format, version 0.0.4, and the paths of a Pushgateway. */

export interface Gauge {
  name: string
  help: string
  /** One for each set of labels. */
  samples: { labels: Record<string, string>; value: number }[]
}

export const contentType = 'text/plain; version=0.0.4; charset=utf-8'

/** The text of them all; every line ends in a line feed, the last one as well. */
export function exposition(gauges: readonly Gauge[]): string {
  return gauges
    .flatMap(({ name, help, samples }) => [
      `# HELP ${name} ${escaped(help)}\n`,
      `# TYPE ${name} gauge\n`,
      ...samples.map(({ labels, value }) => `${name}${labelText(labels)} ${value}\n`),
    ])
    .join('')
}

function labelText(labels: Record<string, string>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`)
  return pairs.length > 0 ? `{${pairs.join(',')}}` : ''
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}

/**
 * The path of a group of metrics, below the address of the gateway. `job` comes first. Values with a slash, empty ones and dots alone would
 * not survive in a path: these, and all that is not plain, go as base64.
 */
export function groupPath({ job, ...labels }: { job: string } & Record<string, string>): string {
  const pairs = Object.entries({ job, ...labels }).map(([name, value]) =>
    /^[\w-][\w.-]*$/.test(value) ? `${name}/${value}` : `${name}@base64/${base64(value)}`,
  )
  return `/metrics/${pairs.join('/')}`
}

/** The gateway asks for one `=` of an empty value. */
function base64(value: string): string {
  return Buffer.from(value).toString('base64url') || '='
}
