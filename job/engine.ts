import type { Readable } from 'node:stream'
import type { Logger } from 'pino'
import type { z } from 'zod'
import type { Part, SourceFacts } from './manifest.ts'
import type { ExternalPlace } from './storage.ts'

/**
 * CONTRACT. What an engine must know how to do. Engines know nothing of keys, storages, hashing or manifests.
 * Server trouble is a JobError of kind `server`, wrong values `configuration`; both name the server or the value.
 * `run.signal` ends everything an engine started: it awaits its children before it rejects.
 */
export interface Engine {
  readonly name: string
  readonly features: EngineFeatures
  /** The engine's part of a source, and of a restore's target. The chart's schema is made of the same objects. */
  readonly sourceSchema: z.ZodType
  readonly targetSchema: z.ZodType

  /** Before any side effect: clients present, server reachable, privileges enough, nobody in the way. */
  check(run: SourceRun): Promise<SourceState>
  /** Every part of one consistent backup. With `run.resumed` it takes up a failed upload of the same id. */
  backup(run: SourceRun, sink: Sink): Promise<BackupFacts>
  /**
   * Called after the commit on every required storage: local copies of this backup, and of the plan's older runs that ended, may go now.
   * A failure is a warning.
   */
  afterCommit?(run: SourceRun, done: { facts: BackupFacts; sink: Sink; otherRuns: OtherRuns }): Promise<void>

  /** Pure: the target values that lead back into a source's own server. */
  targetOf(source: unknown): unknown
  /** Pure: what of the target's values makes two requests different ones, such as its selection. JSON. */
  requestOf(target: unknown): unknown
  /**
   * No side effect, and the first that is asked of a target, before a backup is chosen for it: the marker of this request, when there
   * is one, as it was written, whatever became of the content since. Rejects when the server cannot be reached.
   */
  findMarker(run: RequestRun): Promise<Marker | undefined>
  /** No side effect: what the target is and what is in it, and what of the backup the values choose. */
  checkTarget(run: TargetRun): Promise<TargetState>
  /** No side effect; also what --dry-run prints. Steps run in this order. */
  planRestore(run: TargetRun, state: TargetState): Promise<RestoreStep[]>
  /**
   * Keeps the marker in the target, in place of the one of this request, which may be of another backup; the engine adds what it
   * `creates`. Writing `begun` is the first change made to a target: what other requests brought can be relied on no longer, so that their
   * markers become `replaced` or `overtaken` (io/restores.ts).
   */
  mark(run: TargetRun, marker: Omit<Marker, 'creates'>): Promise<void>
  /** One step. All steps of a plan can be begun again from the first after a crash at any point. Resolves to figures for the summary. */
  restore(run: TargetRun, step: RestoreStep, reader: Reader): Promise<Record<string, unknown>>
  /** Ends a restore, whether it went well or not: its locks are let go, and what it kept on this machine is removed. Never rejects. */
  release?(run: TargetRun): Promise<void>

  /** Proof beyond checksums that the parts can be read, without a server (`verify --level readable`). */
  inspect?(run: InspectRun, reader: Reader): Promise<void>
  /** Makes the facts of a folder that another tool wrote and lists the paths it must have; throws `verification` when incomplete. */
  adopt?(run: InspectRun, reader: Reader): Promise<BackupFacts>
  /** What a worker does for this engine; runs in the worker. The result must be JSON. */
  work?(order: unknown, context: WorkContext): Promise<unknown>
}

export interface EngineFeatures {
  /** A failed upload can be taken up again under the same id. */
  readonly resume: boolean
}

export interface RunContext {
  /** Of the child logger's run. */
  readonly log: Logger
  /** Aborted on SIGTERM, SIGINT and on any failure of the run. */
  readonly signal: AbortSignal
  /** Reads a mounted secret: `{ secret, key }` → its text without the line end at its end. */
  readonly secret: SecretReader
  /** Kept for the summary and the manifest. */
  warn(message: string): void
  readonly warnings: readonly string[]
  /** Objects of Kubernetes: in a pod those of its namespace, outside of that of KUBECONFIG. Loads the client when it is called. */
  objects(): Promise<KubernetesObjects>
}

/** Rejects with `server` when the API server refuses or cannot be reached, with `configuration` for a resource that it does not know. */
export interface KubernetesObjects {
  readonly namespace: string
  version(signal: AbortSignal): Promise<string>
  /** As the server has them; names that are not there are left out. */
  list(choice: ObjectChoice, signal: AbortSignal): Promise<KubernetesObject[]>
  /** Undefined when there is none. */
  read(resource: string, name: string, signal: AbortSignal): Promise<KubernetesObject | undefined>
  /** False when there is one of that name. */
  create(resource: string, object: KubernetesObject, signal: AbortSignal): Promise<boolean>
  /** With a resourceVersion: only as long as it is the one that was read. */
  replace(resource: string, object: KubernetesObject, signal: AbortSignal): Promise<void>
}

/** `resource` as kubectl has it: the plural, with its group when it has one. */
export interface ObjectChoice {
  resource: string
  names?: readonly string[] | undefined
  selector?: string | undefined
}

export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: { name: string; annotations?: Record<string, string>; [key: string]: unknown }
  [key: string]: unknown
}

export type SecretReader = (ref: { secret: string }, key: string, path: string) => string

export type Delegate = (order: EngineOrder) => Promise<unknown>

export interface SourceRun extends RunContext {
  /** Values path of the source, for errors: `backups.nightly.sources.0.rondb`. */
  readonly at: string
  /** The source as the engine's schema parsed it. */
  readonly source: unknown
  /** Decimal seconds since 1970; also the id the database gets. */
  readonly backupId: string
  readonly plan: string
  /** A worker beside the data carries an order out that neither writes nor reads parts. */
  readonly delegate: Delegate
  /** What check found, when the backup begins right after it. */
  readonly checked?: SourceState
  /** A failed run of this id is being taken up again: its facts, as kept by `sink.keepFacts`. */
  readonly resumed?: BackupFacts
}

/** What is asked of one target, whichever backup it will be. */
export interface RequestRun extends RunContext {
  /** Values path of the target, for errors: `restores.once.targets.0.rondb`. */
  readonly at: string
  /** The target as the engine's schema parsed it. */
  readonly target: unknown
  /** Hash of what was asked for. The same request is carried out once; one with a schedule once for each backup. */
  readonly request: string
  /** A worker beside the target carries an order out that needs no parts. */
  delegate: Delegate
}

export interface TargetRun extends RequestRun {
  /** What the manifest says of the source that is restored. */
  readonly source: SourceFacts
  /** Its parts, under the paths that the engine gave them. */
  readonly parts: readonly Part[]
  readonly plan: string
  readonly backupId: string
  /**
   * The marker of this request, when a run of it began and did not finish. What it lists is ours: not among the `contents` that are refused,
   * and dropped where it is. It may be of an older backup, when the request has a schedule.
   */
  readonly unfinished?: Marker
  /** What the backup has replaces what the target has of it. The rest of the target stays, also then. */
  readonly overwrite: boolean
  /** Folder that the workers keep their files in. */
  readonly staging: string
  /** What checkTarget found: set before planRestore. */
  state?: TargetState
}

export interface InspectRun extends RunContext {
  readonly backupId: string
  readonly parts: readonly Part[]
  /** What the manifest says of the source; absent while a folder is being adopted. */
  readonly source?: SourceFacts
  /** Password of an encrypted backup, when the values name one. */
  readonly decryption?: { secret: string; key: string } | undefined
  /** Folder of the clients, when the values name one. */
  readonly clients?: string | undefined
}

/** Ids of the plan's other runs, as the storage shows them after the commit. */
export interface OtherRuns {
  /** Began by us and ended without a backup. */
  failed: readonly string[]
  running: readonly string[]
}

export interface ServerFacts {
  server: { product: string; version: string }
  tools: Record<string, string>
}

export interface SourceState extends ServerFacts {
  /** The engine's own findings, handed on to a backup that begins at once. May hold secrets: never shown. */
  detail: unknown
}

export interface BackupFacts extends ServerFacts {
  facts: Record<string, unknown>
  /** What the run had to warn of when it kept these facts: a resumed run says it again. */
  warnings?: string[] | undefined
}

export interface TargetState extends ServerFacts {
  /**
   * What is in the target and would not be ours to touch, as a person would name it: `database shop (12 tables)`. Anything here ends the run,
   * whatever `overwrite` says: what that allows is left out by the engine.
   */
  contents: string[]
  /** The engine's own findings, handed on to planRestore and mark. */
  detail: unknown
}

/** What the target remembers of a restore. */
export interface Marker {
  request: string
  backupId: string
  plan: string
  /** When another request began to change the target since: replaced, if it was finished, and overtaken, if it was not. */
  state: 'begun' | 'finished' | 'replaced' | 'overtaken'
  /**
   * The engine's list of what it is going to create: after a crash only this may be dropped. What the `unfinished` marker before it
   * lists is in it, too, for that may still be there. Names in a list, or in an object of lists (`databases`, `tables`, …); one with a dot
   * belongs to the one before the dot, and `accounts` are made all at once (io/restores.ts).
   */
  creates: unknown
}

export interface RestoreStep {
  /** One word: `fetch`, `clear`, `tables`, … The figures of `prove` are shown as the proof. */
  name: string
  /** For people: what it will do to the target. */
  says: string
  /** False for a step that only reads: the marker is written before the first one that writes. */
  writes: boolean
  /** Paths of the parts that it reads: how far it has come is told against their bytes. Left out for what takes a moment. */
  reads?: readonly string[]
}

/**
 * Takes the parts of one source. Counted, hashed and sent to every storage of the plan; nothing is kept in memory. What it says of parts is
 * of what the engine gave: a storage may have them compressed, encrypted, under longer paths.
 */
export interface Sink {
  /** Writes one part, compressed unless `plain`. A failed producer must error the stream: an early end cannot be told from a short dump. */
  write(path: string, data: Readable, options?: WriteOptions): Promise<Part>
  /** A worker beside the data uploads many parts. Resolves to what `<path>/parts.json` says, not to what the worker said. */
  delegate(order: UploadOrder): Promise<Part[]>
  delegate(order: EngineOrder): Promise<unknown>
  /**
   * For a database that writes below `path` by itself: into the plan's first storage that such programs get to. Rejects with `configuration`
   * when there is none. A storage without credentials of its own leaves them to the database's machines.
   */
  external(path: string): Promise<ExternalWrite>
  /** Keeps facts that would die with the coordinator, before the upload that they belong to. */
  keepFacts(facts: BackupFacts): Promise<void>
}

export type { ExternalPlace }

export interface ExternalWrite {
  /** Holds secrets: they may go into a parameter of a statement, and nowhere else. */
  place: ExternalPlace
  /** After the database ended: all that lies there is read back, counted, hashed, and copied to the plan's other storages. */
  parts(): Promise<Part[]>
}

export interface WriteOptions {
  /** Bytes, when known. */
  size?: number
  /** Stored as it is: for what is compressed already, and for programs that read it in the storage. */
  plain?: boolean
}

/** Gives the parts of one backup back. */
export interface Reader {
  /** What was written, no longer compressed; the stream errors at its end when size or hash differ from the manifest. */
  read(path: string): Promise<Readable>
  /**
   * Reads what is stored to its end, before a target is changed, and resolves to the bytes of what was written. Rejects with `verification`
   * when it is not what the manifest says.
   */
  check(path: string): Promise<number>
  /** For a database that reads what it wrote by itself. Rejects with `configuration` when it cannot get to this storage. */
  external(path: string): Promise<ExternalPlace>
  /** A worker carries the order out. Orders of one worker name go to the same worker, in turn, and it keeps its files between them. */
  delegate(order: DownloadOrder): Promise<void>
  delegate(order: EngineOrder): Promise<unknown>
}

/** What a worker does. Holds no secret: names of mounted files only. JSON. */
export type Order = UploadOrder | DownloadOrder | EngineOrder

interface AnyOrder {
  /** Orders of one name go to the same worker, in turn. */
  worker: string
  /** Where the files are that the worker must be beside; all orders of one worker say the same. Absent: anywhere. */
  beside?: Place
  /** In a backup, set by the sink: the storages that take part still. The answer is an Outcome (io/outcome.ts) then. */
  storages?: readonly string[]
  /** In a restore, set by the reader: who has each of the parts. The answer is an Outcome then. */
  copies?: readonly Held[][]
}

/** A part as a storage has it. JSON. */
export interface Held {
  storage: string
  part: Part
}

/** Where files of a database lie. JSON. */
export type Place =
  /** A folder on the machine that the run is on. */
  | { access: 'local'; folder: string }
  /** A folder in a volume that a pod of the database has mounted: only a pod on the same machine gets there. */
  | { access: 'volume'; pod: PodChoice; volume: string; folder: string }
  /** A folder in a claim: a pod on the machine of whoever has it mounted, or anywhere when nobody has. */
  | { access: 'claim'; claim: string; folder: string; readOnly: boolean }
  /** A folder in a container, read and written through it. */
  | { access: 'exec'; pod: PodChoice; container: string; folder: string }

/** One pod: of those that are named, or have the labels, the one with this address (IP or host name); without, the first that runs. */
export type PodChoice = { address?: string } & ({ names: readonly string[] } | { selector: string })

/** All files below `folder` of the place become parts below `path`; `<path>/parts.json` is written last. */
export interface UploadOrder extends AnyOrder {
  do: 'upload'
  beside: Place
  folder: string
  path: string
  /** Parts that are stored already may be there: those with the right size and bytes are not sent again. */
  resume: boolean
}

/** Parts go to the worker's own folder under their path without `strip`, each verified against size and hash. */
export interface DownloadOrder extends AnyOrder {
  do: 'download'
  parts: readonly Part[]
  strip: string
  /** Bytes that this worker is going to hold, all its downloads together. */
  room: number
}

/** `engine.work(order)` in the worker. */
export interface EngineOrder extends AnyOrder {
  do: 'engine'
  engine: string
  order: unknown
  /** In a backup: what the work writes becomes parts below it, and `<path>/parts.json` is written last. */
  path?: string
  /** In a restore: what the work reads, under their paths without `strip`. */
  parts?: readonly Part[]
  strip?: string
}

/** The files at a place, for whoever is beside it. Paths are relative to it. Rejects with `server` when it cannot be read. */
export interface Folder {
  /** As people know it, for errors. */
  readonly name: string
  /** As programs that run beside the files know it. */
  readonly path: string
  /** All files below `path`, with sizes in bytes; missing folders reject. */
  files(path: string): Promise<{ path: string; size: number }[]>
  /** Names in the place itself. */
  names(): Promise<string[]>
  /** Can be called again for the same file. */
  read(path: string): Readable
  text(path: string): Promise<string>
  write(path: string, text: string): Promise<void>
  /** With all that is below; what is not there is gone already. */
  remove(path: string): Promise<void>
  /** A path on the worker's machine where the files below `path` that `match` can be read by other programs. */
  local(path: string, match: RegExp): Promise<string>
  /** Bytes free, and which device; undefined where it cannot be known. */
  room(): Promise<{ free: number; device: number } | undefined>
  /** Standard output of a program that runs beside the files; errors at its end when the program did not end well. */
  output(command: Command): Readable
  /** Feeds a program that runs beside the files. A stream that fails ends the program before its input looks complete. */
  consume(command: Command, data: Readable): Promise<{ stdout: string; stderr: string }>
}

export interface Command {
  file: string
  args: string[]
  /** What is not secret. */
  env?: Record<string, string>
  /** Exit codes besides 0 that are no failure. */
  accepts?: readonly number[]
  /** Called for each line of standard error. */
  onError?: (line: string) => void
}

export interface WorkContext {
  readonly signal: AbortSignal
  readonly secret: SecretReader
  readonly log: Logger
  /** One word: whose backups these are. A plan of the same name that stores elsewhere is another owner. */
  readonly owner: string
  /** The worker's own folder: what earlier downloads left is here. */
  readonly folder: string
  /** What lies where the order says that it must be beside; a bug without. */
  readonly beside: Folder
  /** As a Sink's, below the `path` of the order. */
  write(path: string, data: Readable, options?: WriteOptions): Promise<Part>
  /** As a Reader's, of the `parts` of the order. */
  read(path: string): Promise<Readable>
  /** Bytes done since the last call; those that `write` takes and `read` gives are counted by themselves. */
  progress(bytes: number): void
}
