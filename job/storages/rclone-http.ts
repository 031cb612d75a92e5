import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { Agent, type ClientRequest, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http'
import { text } from 'node:stream/consumers'

/** rclone's HTTP server on loopback. */
export interface Remote {
  /** `http://127.0.0.1:40001/`. */
  url: string
  user: string
  password: string
}

export interface Asked {
  signal?: AbortSignal | undefined
  /** For the answer to begin, and between two writes of a body. */
  limitMs: number
}

export interface Answer {
  status: number
  body: string
}

export interface RcloneHttp {
  /** Calls a method of rclone's remote control. */
  call(method: string, parameters: object, asked: Asked): Promise<Answer>
  /** Stores chunks as one object of unknown size. When they fail, rclone is told so, and has forgotten the object before this rejects. */
  upload(
    place: { fs: string; folder: string; file: string },
    chunks: AsyncIterable<Buffer>,
    asked: Asked,
  ): Promise<Answer>
  /** The object as rclone sends it, with the status and headers of HTTP. */
  open(path: string, headers: OutgoingHttpHeaders, asked: Asked): Promise<IncomingMessage>
  close(): void
}

/** A request that got no answer: rclone is gone, or silent. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** For rclone to remove what it has of an upload that failed. */
const graceMs = 30_000

export function rcloneHttp({ url, user, password }: Remote): RcloneHttp {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 32 })
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`

  function ask(method: string, path: string, headers: OutgoingHttpHeaders): ClientRequest {
    return request(new URL(path, url), { method, agent, headers: { authorization, ...headers } })
  }

  async function call(method: string, parameters: object, asked: Asked): Promise<Answer> {
    const body = Buffer.from(JSON.stringify(parameters))
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    const asking = ask('POST', method, headers)
    return await read(await answerTo(asking, asked, () => asking.end(body)))
  }

  async function upload(
    { fs, folder, file }: { fs: string; folder: string; file: string },
    chunks: AsyncIterable<Buffer>,
    asked: Asked,
  ): Promise<Answer> {
    const boundary = randomUUID()
    const name = encodeURIComponent(file).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`)
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename*=utf-8''${name}\r\n\r\n`
    const query = new URLSearchParams({ fs, remote: folder })
    const asking = ask('POST', `operations/uploadfile?${query}`, {
      'content-type': `multipart/form-data; boundary=${boundary}`,
      'transfer-encoding': 'chunked',
    })
    // the signal ends the chunks, and they the request
    const answer = answerTo(asking, { limitMs: asked.limitMs })
    answer.catch(() => {})
    const write = writer(asking, asked.limitMs)
    try {
      await write(Buffer.from(head))
      for await (const chunk of chunks) if (!(await write(chunk))) break
    } catch (error) {
      await spoil(asking, answer)
      throw error
    }
    asking.end(`\r\n--${boundary}--\r\n`)
    const timer = setTimeout(() => asking.destroy(new NoAnswer('no answer in time')), asked.limitMs)
    return await answer.then(read).finally(() => clearTimeout(timer))
  }

  return {
    call,
    upload,
    async open(path, headers, asked) {
      const asking = ask('GET', path, headers)
      return await answerTo(asking, asked, () => asking.end())
    },
    close: () => agent.destroy(),
  }
}

/** Resolves when the answer begins, whatever it is. Rejects with NoAnswer, or the reason of the signal. */
function answerTo(asking: ClientRequest, { signal, limitMs }: Asked, begin?: () => void): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const abort = () => void asking.destroy(signal?.reason)
    const timer = begin && setTimeout(() => asking.destroy(new NoAnswer('no answer in time')), limitMs)
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
    asking.once('response', (answer) => {
      settle()
      resolve(answer)
    })
    asking.on('error', (error) => {
      settle()
      reject(signal?.aborted ? signal.reason : error instanceof NoAnswer ? error : new NoAnswer(error.message))
    })
    asking.once('close', () => {
      settle()
      reject(new NoAnswer('the connection broke'))
    })
    if (signal?.aborted) return abort()
    signal?.addEventListener('abort', abort, { once: true })
    return begin?.()
  })
}

async function read(answer: IncomingMessage): Promise<Answer> {
  const body = await text(answer).catch((error) => {
    throw new NoAnswer(error.message)
  })
  return { status: answer.statusCode ?? 0, body }
}

/** Writes and waits until the chunk is used. False when rclone has answered, or gone: then nobody reads any more. */
function writer(asking: ClientRequest, limitMs: number): (chunk: Buffer) => Promise<boolean> {
  let over = false
  let wake = () => {}
  for (const event of ['response', 'error', 'close']) {
    asking.once(event, () => {
      over = true
      wake()
    })
  }
  return async (chunk) => {
    if (over) return false
    const timer = setTimeout(() => asking.destroy(new NoAnswer(`no data taken for ${limitMs / 1000} seconds`)), limitMs)
    await new Promise<void>((resolve) => {
      wake = resolve
      asking.write(chunk, () => resolve())
    })
    clearTimeout(timer)
    return !over
  }
}

/**
 * Ends a body so that nobody takes it for whole. Where the connection just ends, rclone reads "unexpected EOF", which some of its
 * backends take for the end of the data: so it gets a chunk that is none. Its answer says that it has cleaned up.
 */
async function spoil(asking: ClientRequest, answer: Promise<IncomingMessage>): Promise<void> {
  const timer = setTimeout(() => asking.destroy(), graceMs)
  asking.socket?.write('!\r\n')
  const said = await answer.catch(() => undefined)
  if (said) {
    said.resume()
    await once(said, 'close').catch(() => {})
  }
  clearTimeout(timer)
  asking.destroy()
}
