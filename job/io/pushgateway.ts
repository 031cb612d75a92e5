import { once } from 'node:events'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { SecretReader } from '../engine.ts'
import { JobError, textOf } from '../errors.ts'
import type { Pushgateway } from '../metrics.ts'
import { accountOf, certificateHint, type TlsTexts, tlsOptions, tlsTexts } from './connection.ts'
import { contentType, exposition, type Gauge, groupPath } from './exposition.ts'

interface Push {
  /** What makes the group: whoever sends the same labels again replaces what was sent. */
  labels: { job: string } & Record<string, string>
  gauges: readonly Gauge[]
  secret: SecretReader
  signal: AbortSignal
}

const at = 'metrics.pushgateway'
/** Of an answer that is shown: enough to say what is wrong. */
const shownBytes = 300

/**
 * Sends the families of a group; others that it has stay as they are (POST: a PUT would remove them). Throws `server` when the gateway did not
 * take them, `configuration` when a secret is missing.
 */
export async function push(gateway: Pushgateway, { labels, gauges, secret, signal }: Push): Promise<void> {
  const url = new URL(`${gateway.url.replace(/\/+$/, '')}${groupPath(labels)}`)
  const tls = tlsTexts(gateway.tls ?? { mode: 'verify-identity' }, secret, `${at}.tls`)
  const account = gateway.credentials && accountOf(gateway.credentials, secret, `${at}.credentials`)
  const begin = url.protocol === 'https:' ? httpsRequest : httpRequest
  const request = begin(url, {
    method: 'POST',
    headers: { 'content-type': contentType },
    signal,
    ...tlsOptions(tls),
    ...(account ? { auth: `${account.user}:${account.password}` } : {}),
  })
  try {
    const answer = await answerTo(request, exposition(gauges))
    const status = answer.statusCode ?? 0
    if (status < 200 || status > 299)
      throw new JobError('server', `the answer was ${status} ${answer.statusMessage}${await reasonIn(answer)}`)
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof JobError ? error : unanswered(error, tls)
  } finally {
    request.destroy()
  }
}

async function answerTo(request: ClientRequest, body: string): Promise<IncomingMessage> {
  // what happens to the connection after the answer is nobody's trouble
  request.on('error', () => {})
  request.end(body)
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  return answer
}

/** The gateway says in its answer which metric it does not take. */
async function reasonIn(answer: IncomingMessage): Promise<string> {
  let said = ''
  for await (const chunk of answer) {
    said += chunk
    if (said.length > shownBytes) break
  }
  const line = said.slice(0, shownBytes).replaceAll(/\s+/g, ' ').trim()
  return line && `: ${line}`
}

function unanswered(cause: unknown, tls: TlsTexts): JobError {
  const hint = certificateHint(textOf(cause), { tls, at: `${at}.tls` })
  return new JobError('server', 'there was no answer', { cause, hint })
}
