import { filesBelow } from '../../io/folder.ts'

/** How far ndb_restore has come with the rows of a node, as it says itself when it is asked for it (`--progress-frequency`). */
export interface Reading {
  line(line: string): void
  /** All was read. */
  end(): void
}

/** `progress` is told bytes of the node's files with rows, and at the end as many as they have. */
export async function followRows(folder: string, progress: (bytes: number) => void): Promise<Reading> {
  const files = (await filesBelow(folder)).filter(({ path }) => path.endsWith('.Data'))
  const size = files.reduce((sum, file) => sum + file.size, 0)
  const threads = new Map<string, number>()
  let told = 0
  const tell = (bytes: number) => {
    // of a file that NDB compressed it counts what it was before
    const now = Math.min(bytes, size)
    if (now > told) progress(now - told)
    told = Math.max(told, now)
  }
  return {
    line: (line) => {
      const read = parseRead(line)
      if (!read) return
      threads.set(read.thread, read.bytes)
      tell([...threads.values()].reduce((sum, bytes) => sum + bytes, 0))
    },
    end: () => tell(size),
  }
}

/** Pure: how much of its file with rows one of the threads has read. */
function parseRead(line: string): { thread: string; bytes: number } | undefined {
  const bytes = /Data file progress: +\d+(?:percent|%)\((\d+) bytes\)/.exec(line)?.[1]
  const thread = /\[part \d+\]/.exec(line)?.[0] ?? ''
  return bytes === undefined ? undefined : { thread, bytes: Number(bytes) }
}
