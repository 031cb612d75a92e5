import { once } from 'node:events'
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { URL } from 'node:url'

/** One request of an S3 client, as its matchers see it. */
export interface S3Request {
  /** What S3 calls it: `PutObject`, `UploadPart`, `CompleteMultipartUpload`, … */
  operation: string
  method: string
  bucket: string
  key: string
  /** Of an UploadPart. */
  part: number | undefined
  headers: NodeJS.Dict<string | string[]>
}

export type Matcher = (request: S3Request) => boolean

/**
 * answer: the server is not asked · reset: the connection is cut, the server is not asked · stall: no answer, ever ·
 * lose: the server is asked, its answer is dropped and the connection cut · truncate: the answer's body is cut after so
 * many bytes · freeze: it stops there, with the connection open
 */
export type Action =
  | { answer: number; code?: string; message?: string }
  | 'reset'
  | 'stall'
  | 'lose'
  | { truncate: number }
  | { freeze: number }

export interface Held {
  /** Resolves when a request is held. */
  readonly held: Promise<S3Request>
  /** Lets it go on. */
  release(): void
}

export interface S3Proxy {
  /** For the client, instead of the server's. */
  readonly endpoint: string
  /** All requests so far. */
  readonly requests: S3Request[]
  /** Those of them whose answer has gone out, in the order of the answers. */
  readonly answered: S3Request[]
  /** What happens to the next request that matches, or to the next `times` of them after `skip` that pass. */
  on(match: Matcher, action: Action, counts?: { times?: number; skip?: number }): void
  /** Holds the next request that matches: before the server sees it, or after it did and before the client knows. */
  holdNext(match: Matcher, when: 'before' | 'after'): Held
  /** Forgets what was to happen. */
  clear(): void
  stop(): Promise<void>
}

interface Hold {
  match: Matcher
  when: 'before' | 'after'
  caught(request: S3Request): void
  released: Promise<void>
}

/** Stands between an S3 client and a real server, and does what goes wrong in between. */
export async function startS3Proxy(upstream: string): Promise<S3Proxy> {
  const { hostname, port } = new URL(upstream)
  const rules: { match: Matcher; action: Action; times: number; skip: number }[] = []
  const holds: Hold[] = []
  const requests: S3Request[] = []
  const answered: S3Request[] = []

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const request = describe(incoming)
    requests.push(request)
    outgoing.on('finish', () => answered.push(request))
    const hold = takeHold(request)
    const action = takeAction(request)
    if (hold?.when === 'before') await holdBack(hold, request)
    if (action === 'reset') return void incoming.socket.destroy()
    if (action === 'stall') return void incoming.resume()
    if (typeof action === 'object' && 'answer' in action) return await refuse(action, incoming, outgoing)
    const answer = await send(incoming, outgoing)
    if (!answer) return void incoming.socket.destroy()
    if (action === 'lose') {
      await once(answer.resume(), 'end')
      return void incoming.socket.destroy()
    }
    if (hold?.when === 'after') await holdBack(hold, request)
    outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
    if (typeof action === 'object') return await cutShort(answer, outgoing, action)
    answer.pipe(outgoing)
  }

  function takeHold(request: S3Request): Hold | undefined {
    const index = holds.findIndex(({ match }) => match(request))
    return index < 0 ? undefined : holds.splice(index, 1)[0]
  }

  function takeAction(request: S3Request): Action | undefined {
    for (const rule of rules) {
      if (rule.times === 0 || !rule.match(request)) continue
      if (rule.skip-- > 0) continue
      rule.times -= 1
      return rule.action
    }
    return undefined
  }

  /** The server's answer; undefined when the client or the server goes away before. */
  function send(incoming: IncomingMessage, outgoing: ServerResponse): Promise<IncomingMessage | undefined> {
    return new Promise((resolve) => {
      const { method, url, rawHeaders } = incoming
      const request = forward({ hostname, port, method, path: url, headers: rawHeaders, agent: false }, resolve)
      request.on('error', () => resolve(undefined))
      outgoing.on('close', () => outgoing.writableFinished || request.destroy())
      incoming.pipe(request)
    })
  }

  const server = createServer((incoming, outgoing) => {
    handle(incoming, outgoing).catch(() => incoming.socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    answered,
    on: (match, action, { times = 1, skip = 0 } = {}) => void rules.push({ match, action, times, skip }),
    clear() {
      rules.length = 0
    },
    holdNext(match, when) {
      const held = Promise.withResolvers<S3Request>()
      const released = Promise.withResolvers<void>()
      holds.push({ match, when, caught: held.resolve, released: released.promise })
      return { held: held.promise, release: released.resolve }
    },
    async stop() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

async function holdBack({ caught, released }: Hold, request: S3Request): Promise<void> {
  caught(request)
  await released
}

async function refuse(
  { answer, code = 'InternalError', message = 'on purpose' }: { answer: number; code?: string; message?: string },
  incoming: IncomingMessage,
  outgoing: ServerResponse,
) {
  if (!incoming.complete) await once(incoming.resume(), 'end')
  outgoing.writeHead(answer, { 'content-type': 'application/xml' })
  outgoing.end(
    incoming.method === 'HEAD'
      ? ''
      : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`,
  )
}

async function cutShort(answer: IncomingMessage, outgoing: ServerResponse, action: Action): Promise<void> {
  const { truncate, freeze = truncate ?? 0 } = action as { truncate?: number; freeze?: number }
  let left = freeze
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    outgoing.write(chunk.subarray(0, left))
    left -= Math.min(left, chunk.length)
    if (left > 0) continue
    if (truncate !== undefined) outgoing.socket?.end()
    return
  }
}

/** What an S3 request is, from its method, path and query. */
export function describe({ method = '', url = '', headers }: IncomingMessage): S3Request {
  const { pathname, searchParams } = new URL(url, 'http://s3')
  const [bucket = '', ...segments] = pathname.slice(1).split('/').map(decodeURIComponent)
  const key = segments.join('/')
  const part = searchParams.get('partNumber')
  return {
    operation: operationOf(method, key, searchParams),
    method,
    bucket,
    key,
    part: part === null ? undefined : Number(part),
    headers,
  }
}

function operationOf(method: string, key: string, query: URLSearchParams): string {
  const inUpload = query.has('uploadId')
  switch (method) {
    case 'PUT':
      return inUpload ? 'UploadPart' : 'PutObject'
    case 'POST':
      if (query.has('delete')) return 'DeleteObjects'
      return inUpload ? 'CompleteMultipartUpload' : 'CreateMultipartUpload'
    case 'DELETE':
      return inUpload ? 'AbortMultipartUpload' : 'DeleteObject'
    case 'HEAD':
      return key ? 'HeadObject' : 'HeadBucket'
    default:
      if (query.has('uploads')) return 'ListMultipartUploads'
      return key ? 'GetObject' : 'ListObjectsV2'
  }
}
