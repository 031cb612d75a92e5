import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { URL } from 'node:url'
import { describe } from './s3-proxy.ts'

export interface S3Stub {
  readonly endpoint: string
  /** Bytes of every object, by key. */
  readonly sizes: Map<string, number>
  /** Most parts that were under way at the same time. */
  readonly mostParts: number
  /** Bytes of the largest part. */
  readonly largestPart: number
  stop(): Promise<void>
}

/** An S3 server that counts bytes and keeps none: for uploads larger than any disk. Reads give as many zeros. */
export async function startS3Stub(): Promise<S3Stub> {
  const sizes = new Map<string, number>()
  const uploads = new Map<string, Map<number, number>>()
  let underWay = 0
  let mostParts = 0
  let largestPart = 0

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { operation, key, part = 0 } = describe(incoming)
    const id = new URL(incoming.url ?? '', 'http://stub').searchParams.get('uploadId') ?? ''
    if (operation === 'UploadPart') mostParts = Math.max(mostParts, ++underWay)
    let size = 0
    for await (const chunk of incoming) size += (chunk as Buffer).length
    if (operation === 'UploadPart') {
      underWay -= 1
      largestPart = Math.max(largestPart, size)
    }
    switch (operation) {
      case 'PutObject':
        sizes.set(key, size)
        return void outgoing.writeHead(200, { etag: etagOf(key) }).end()
      case 'CreateMultipartUpload': {
        const uploadId = `upload-${uploads.size + 1}`
        uploads.set(uploadId, new Map())
        const names = `<Key>${key}</Key><UploadId>${uploadId}</UploadId>`
        return void outgoing.end(`<InitiateMultipartUploadResult>${names}</InitiateMultipartUploadResult>`)
      }
      case 'UploadPart':
        uploads.get(id)?.set(part, size)
        return void outgoing.writeHead(200, { etag: etagOf(`${id} ${part}`) }).end()
      case 'CompleteMultipartUpload': {
        const parts = [...(uploads.get(id)?.values() ?? [])]
        uploads.delete(id)
        sizes.set(
          key,
          parts.reduce((sum, bytes) => sum + bytes, 0),
        )
        const etag = `<ETag>"${createHash('md5').update(id).digest('hex')}-${parts.length}"</ETag>`
        return void outgoing.end(
          `<CompleteMultipartUploadResult><Key>${key}</Key>${etag}</CompleteMultipartUploadResult>`,
        )
      }
      case 'AbortMultipartUpload':
        uploads.delete(id)
        return void outgoing.writeHead(204).end()
      default:
        return await read(incoming, outgoing, sizes.get(key))
    }
  }

  const server = createServer((incoming, outgoing) => {
    handle(incoming, outgoing).catch(() => incoming.socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sizes,
    get mostParts() {
      return mostParts
    },
    get largestPart() {
      return largestPart
    },
    async stop() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

async function read({ method }: IncomingMessage, outgoing: ServerResponse, size: number | undefined): Promise<void> {
  if (size === undefined) return void outgoing.writeHead(404).end()
  outgoing.writeHead(200, { 'content-length': size, 'last-modified': new Date(0).toUTCString() })
  const zeros = Buffer.alloc(256 * 1024)
  for (let left = method === 'HEAD' ? 0 : size; left > 0; left -= zeros.length) {
    if (!outgoing.write(zeros.subarray(0, Math.min(left, zeros.length)))) await once(outgoing, 'drain')
  }
  outgoing.end()
}

function etagOf(text: string): string {
  return `"${createHash('md5').update(text).digest('hex')}"`
}
