import type { Connection, Submittable } from 'pg'

const copyData = 'd'.charCodeAt(0)
const copyDone = Buffer.from([...Buffer.from('c'), 0, 0, 0, 4])

/** A `COPY … FROM stdin` for `client.query()`, whose input is what is written to it: as it is, without a copy. */
export class CopyIn implements Submittable {
  private readonly text: string
  private connection: Connection | undefined
  private readonly begun = Promise.withResolvers<void>()
  private readonly ended = Promise.withResolvers<number>()
  private rows = Number.NaN
  private failed = false

  constructor(text: string) {
    this.text = text
    // whoever writes next is told
    this.begun.promise.catch(() => {})
    this.ended.promise.catch(() => {})
  }

  /** Resolves when the bytes are the caller's again. Rejects with the server's error, or that of a connection that was lost. */
  async write(bytes: Buffer): Promise<void> {
    await this.begun.promise
    const sent = !this.failed && (await this.send(bytes))
    // the server says better than the socket what is wrong
    if (!sent || this.failed) await this.ended.promise
  }

  /** Resolves to the rows that the server has taken. */
  async end(): Promise<number> {
    await this.begun.promise
    if (!this.failed) this.connection?.stream.write(copyDone)
    return this.ended.promise
  }

  private send(bytes: Buffer): Promise<boolean> {
    const { stream } = this.connection as Connection
    const head = Buffer.alloc(5)
    head[0] = copyData
    head.writeUInt32BE(bytes.length + 4, 1)
    return new Promise((resolve) => {
      stream.cork()
      stream.write(head)
      stream.write(bytes, (error) => resolve(!error))
      stream.uncork()
    })
  }

  submit(connection: Connection): void {
    this.connection = connection
    connection.query(this.text)
  }

  handleCopyInResponse(): void {
    this.begun.resolve()
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.rows = Number(text.replace('COPY ', ''))
  }

  handleReadyForQuery(): void {
    this.begun.reject(new Error('the statement takes no rows'))
    this.ended.resolve(this.rows)
  }

  handleError(error: unknown): void {
    this.failed = true
    this.begun.reject(error)
    this.ended.reject(error)
  }
}
