import type { Writable } from 'node:stream'
import { stringify } from 'yaml'

/** What a command has to say. The same data in every format; the table is for people. */
export interface Result {
  /** Printed by `json` and `yaml` as it is: bytes, seconds, ISO times. */
  data: unknown
  table: Table
  /** Sentences below the table; other formats leave them out. */
  notes?: string[]
  /** The run fails with it, but what was found is printed first. */
  failure?: unknown
  /** Standard output was the command's own: this goes to standard error. */
  beside?: boolean
}

export interface Table {
  columns: Column[]
  /** One cell a column. */
  rows: string[][]
}

/** A column of numbers stands to the right. */
export type Column = string | { title: string; right: true }

export type Format = 'table' | 'json' | 'yaml' | 'colonies'

export function print({ result, format, to }: { result: Result; format: Format; to: Writable }): void {
  to.write(render(result, format))
}

/** The text of a result, with a newline at its end. */
export function render({ data, table, notes = [] }: Result, format: Format): string {
  if (format === 'json' || format === 'colonies') return `${JSON.stringify(data, null, 2)}\n`
  if (format === 'yaml') return stringify(data, { lineWidth: 0, aliasDuplicateObjects: false })
  const lines = table.rows.length > 0 ? align(table) : []
  return [...lines, ...notes].map((line) => `${line}\n`).join('')
}

function align({ columns, rows }: Table): string[] {
  const titles = columns.map((column) => (typeof column === 'string' ? column : column.title).toUpperCase())
  const shown = rows.map((row) => row.map(visible))
  const widths = titles.map((title, i) => Math.max(title.length, ...shown.map((row) => (row[i] ?? '').length)))
  return [titles, ...shown].map((row) => {
    const cells = columns.map((column, i) => {
      const cell = row[i] ?? ''
      return typeof column === 'string' ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)
    })
    return cells.join('  ').trimEnd()
  })
}

/** Names come from storages: a line end or an escape sequence in one must not reach the terminal. */
function visible(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?')
}

/** Bytes for people: `980 B`, `1.4 MiB`. */
export function sizeText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let size = bytes
  let unit = 0
  while (size >= 1023.95 && unit < units.length - 1) {
    size /= 1024
    unit++
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`
}

/** Seconds for people: `0.4s`, `52s`, `3m 5s`, `2h 10m`, `3d 4h`. */
export function spanText(seconds: number): string {
  if (seconds < 10) return `${Number(Math.max(0, seconds).toFixed(1))}s`
  const whole = Math.round(seconds)
  const [d, h, m, s] = [
    Math.floor(whole / 86400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
    whole % 60,
  ]
  if (d > 0) return `${d}d ${h}h`
  if (h > 0) return `${h}h ${m}m`
  return m > 0 ? `${m}m ${s}s` : `${s}s`
}

/** A time for people, UTC, whole seconds: `2026-11-20T23:40:00Z`. */
export function timeText(time: Date | string): string {
  return new Date(time).toISOString().replace(/\.\d+Z$/, 'Z')
}
