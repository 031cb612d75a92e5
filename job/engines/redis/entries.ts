import type { Readable } from 'node:stream'
import { broken } from './cursor.ts'
import type { Encoding } from './encodings.ts'
import { type Head, scan } from './rdb.ts'

/** A key as RESTORE takes it. */
export interface Entry {
  database: number
  key: Buffer
  type: number
  encoding: Encoding
  expires: number | undefined
  idle: number | undefined
  frequency: number | undefined
  /** Its serialised bytes, without the type in front. */
  value: Buffer[]
  size: number
}

interface Reading {
  wanted(head: Head): boolean
  /** The next key; its bytes stay what they are. */
  entry(entry: Entry, rdbVersion: number): void
  /** A library of functions, as it is serialised. */
  library?(bytes: Buffer, rdbVersion: number): void
  /** Awaited after each chunk: holds the reading back. */
  pace(): Promise<void>
}

/** Reads a stored RDB to its end, one key in memory at a time. */
export async function readEntries(source: Readable, { wanted, entry, library, pace }: Reading): Promise<void> {
  let current: Entry | undefined
  let version = 0
  const scanner = scan({
    header: (header) => {
      version = header.version
    },
    other: ({ kind }, { buffer, from, to }) => {
      if (kind === 'function') library?.(buffer.subarray(from, to), version)
    },
    key: (head) => {
      if (!wanted(head)) return
      const { database, type, encoding, expires, idle, frequency } = head
      current = { database, key: head.key(), type, encoding, expires, idle, frequency, value: [], size: 0 }
    },
    value: ({ buffer, from, to }) => {
      if (!current) return
      current.value.push(buffer.subarray(from, to))
      current.size += to - from
    },
    ended: () => {
      if (current) entry(current, version)
      current = undefined
    },
  })
  for await (const chunk of source) {
    scanner.write(chunk)
    await pace()
  }
  if (!scanner.complete) throw broken('it ends before its end')
}
