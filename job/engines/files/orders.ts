import { join, posix } from 'node:path'
import type { EngineOrder, Marker, Place } from '../../engine.ts'
import type { Source, Target } from './values.ts'

/** What a worker beside the files does. JSON. */
export type Work = { clients?: string | undefined } & (
  | { do: 'look' }
  | { do: 'pack'; include?: string[] | undefined; exclude: string[]; oneFileSystem: boolean }
  | { do: 'mark'; marker: Marker }
  | { do: 'choose'; choice: Selection }
  | { do: 'clear'; choice: Selection; kept: Selection; all: boolean }
  | { do: 'unpack'; choice: Selection; owner: 'keep' | 'runner' }
  | { do: 'prove'; choice: Selection; owner: 'keep' | 'runner' }
)

export interface Selection {
  include?: string[] | undefined
  exclude: string[]
}

/** What is found at a place. */
export interface Looked {
  tar: string
  there: boolean
  /** Names in the folder but for ours and the file system's: the first ones, and how many there are. */
  names: string[]
  count: number
  markers: Marker[]
  /** Who reads and writes there, and who owns the folder. */
  uid: number
  owner?: number
}

export interface Packed {
  counts: Counts
  /** Those of restores, after everything was read. */
  markers: Marker[]
  warnings: string[]
}

export interface Counts {
  files: number
  folders: number
  links: number
  others: number
  /** Of all files, holes included. */
  bytes: number
}

export function noCounts(): Counts {
  return { files: 0, folders: 0, links: 0, others: 0, bytes: 0 }
}

/** Has the markers of restores, in the target, beside what was restored. */
export const markerName = '.holdfast-restore'

/** What a restore of everything says that it makes. */
export const wholeFolder = '.'

/** Never part of a backup, and no content of a target. */
export const notOurs = [markerName, 'lost+found']

/** The folder of the parts, in that of the source. */
export const folder = 'files'
export const archivePart = `${folder}/tree.tar`
export const listPart = `${folder}/list.jsonl`

type Where = Source | Target

export function orderFor(where: Where, readOnly: boolean, order: Work): EngineOrder {
  const beside = placeOf(where, readOnly)
  const clients = where.clients
  return { do: 'engine', engine: 'files', worker: `files of ${nameOf(where)}`, beside, order: { ...order, clients } }
}

function placeOf({ access, path, claim = '', pods, container = '' }: Where, readOnly: boolean): Place {
  if (access === 'local') return { access, folder: posix.normalize(path ?? '') }
  if (access === 'volume') return { access: 'claim', claim, folder: posix.normalize(path ?? '.'), readOnly }
  const pod = pods?.names ? { names: pods.names } : { selector: pods?.selector ?? '' }
  return { access, pod, container, folder: posix.normalize(path ?? '') }
}

/** As people know the place. */
export function nameOf({ access, path, claim, pods, container }: Where): string {
  if (access === 'volume') return `claim ${claim}${path ? `/${path}` : ''}`
  if (access === 'exec') return `${container} of ${pods?.names?.join(', ') ?? pods?.selector}:${path}`
  return path ?? ''
}

export function tarOf(clients: string | undefined): string {
  return clients ? join(clients, 'tar') : 'tar'
}
