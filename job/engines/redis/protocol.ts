/** RESP2, the protocol of the servers. Texts are latin1, so that bytes of keys pass as they are. */
export type Reply = string | number | null | Refusal | Reply[]

/** An error as the server wrote it: `NOPERM this user has no permissions …`. */
export interface Refusal {
  error: string
}

export type Argument = string | number | Buffer

export function isRefusal(reply: Reply): reply is Refusal {
  return typeof reply === 'object' && reply !== null && 'error' in reply
}

export function encode(args: readonly Argument[]): Buffer {
  const pieces: Buffer[] = [Buffer.from(`*${args.length}\r\n`)]
  for (const arg of args) {
    const bytes = Buffer.isBuffer(arg) ? arg : Buffer.from(`${arg}`, 'latin1')
    pieces.push(Buffer.from(`$${bytes.length}\r\n`), bytes, end)
  }
  return Buffer.concat(pieces)
}

const end = Buffer.from('\r\n')

/** Replies out of what comes; `rest()` is what is left, when something else than replies follows. */
export function replies() {
  let buffer: Buffer = Buffer.alloc(0)
  let at = 0

  function line(): string | undefined {
    const to = buffer.indexOf(13, at)
    if (to < 0 || to + 1 >= buffer.length) return undefined
    const text = buffer.toString('latin1', at, to)
    at = to + 2
    return text
  }

  function next(): Reply | undefined {
    const text = line()
    if (text === undefined) return undefined
    switch (text[0]) {
      case '+':
        return text.slice(1)
      case '-':
        return { error: Buffer.from(text.slice(1), 'latin1').toString('utf8') }
      case ':':
        return Number(text.slice(1))
      case '$':
        return bulk(Number(text.slice(1)))
      case '*':
        return list(Number(text.slice(1)))
      default:
        throw new Error(`what it says is not the protocol of Redis: ${JSON.stringify(text.slice(0, 40))}`)
    }
  }

  function bulk(bytes: number): Reply | undefined {
    if (bytes < 0) return null
    if (at + bytes + 2 > buffer.length) return undefined
    const text = buffer.toString('latin1', at, at + bytes)
    at += bytes + 2
    return text
  }

  function list(count: number): Reply | undefined {
    if (count < 0) return null
    const items: Reply[] = []
    while (items.length < count) {
      const item = next()
      if (item === undefined) return undefined
      items.push(item)
    }
    return items
  }

  return {
    add: (chunk: Buffer) => {
      buffer = at < buffer.length ? Buffer.concat([buffer.subarray(at), chunk]) : chunk
      at = 0
    },
    /** Undefined until the whole reply is there. */
    take: (): Reply | undefined => {
      const from = at
      const reply = next()
      if (reply === undefined) at = from
      return reply
    },
    rest: () => buffer.subarray(at),
  }
}
