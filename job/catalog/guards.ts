import { z } from 'zod'
import { isMissing, readAll, type Storage } from '../storage.ts'
import { manifestPrefix, parseName, siblingKey } from './layout.ts'
import { formatRunFile, parseRunFile } from './runs.ts'

/** A person wants the backup to stay until it is unpinned. */
export const Pin = z.object({ pinned: z.iso.datetime(), note: z.string().optional() })
export type Pin = z.infer<typeof Pin>

/** A run reads the backup. It counts until it expires, for a run that was killed takes nothing back. */
export const Hold = z.object({ run: z.string(), by: z.string(), since: z.iso.datetime(), expires: z.iso.datetime() })
export type Hold = z.infer<typeof Hold>

/**
 * What keeps prunes from removing the backups of one plan in one storage: siblings of their manifests. They are found by the listing that
 * finds the manifests, and read only where they are.
 */
export interface Guards {
  /** Takes the place of an earlier pin. */
  pin(id: string, pin: Pin, signal?: AbortSignal): Promise<void>
  /** No error when it was not pinned. */
  unpin(id: string): Promise<void>
  /** `hold.run` must be unique among the holds of a backup, and has only a-z, 0-9 and -. */
  hold(id: string, hold: Hold, signal?: AbortSignal): Promise<void>
  /** A hold that is gone already is no error. */
  release(id: string, run: string): Promise<void>
  /** Names of the siblings that guard it: `pin`, `hold-<run>`. One listing. */
  names(id: string): Promise<string[]>
  /** What siblings with these names say. One that is gone says nothing. */
  read(id: string, words: readonly string[], now: Date, signal?: AbortSignal): Promise<Guarded>
}

export interface Guarded {
  pin?: Pin
  holds: Hold[]
  /** Runs whose hold is over: nothing but a file that is left. */
  expired: string[]
}

const holdWord = 'hold-'
/** Of a hold that cannot be read. */
const forEver = '9999-12-31T00:00:00Z'

export function openGuards(storage: Storage, plan: string): Guards {
  return {
    pin: (id, pin, signal) => put(siblingKey(plan, id, 'pin'), pin, signal),

    unpin: (id) => storage.delete([siblingKey(plan, id, 'pin')]),

    hold: (id, hold, signal) => put(siblingKey(plan, id, holdWord + hold.run), hold, signal),

    release: (id, run) => storage.delete([siblingKey(plan, id, holdWord + run)]),

    async names(id) {
      const words: string[] = []
      for await (const { key } of storage.list(manifestPrefix(plan, id))) {
        const named = parseName(plan, key)
        if (named?.kind === 'sibling' && isGuard(named.word)) words.push(named.word)
      }
      return words
    },

    async read(id, words, now, signal) {
      const found: Guarded = { holds: [], expired: [] }
      for (const word of words) {
        const bytes = await readAll(storage, siblingKey(plan, id, word), signal).catch(noneWhenMissing)
        if (!bytes) continue
        if (word === 'pin') found.pin = parseRunFile(Pin, bytes) ?? unreadablePin
        else sortIn(found, parseRunFile(Hold, bytes) ?? unreadableHold(word), now)
      }
      return found
    },
  }

  async function put(key: string, content: Pin | Hold, signal?: AbortSignal): Promise<void> {
    const bytes = formatRunFile(content)
    await storage.put(key, bytes, { size: bytes.length, unlocked: true, ...(signal ? { signal } : {}) })
  }
}

/** Whether a sibling guards its backup, or tells something else about it. */
export function isGuard(word: string): boolean {
  return word === 'pin' || word.startsWith(holdWord)
}

/** Why a prune leaves it, for people; empty when nothing guards it. */
export function guardTexts({ pin, holds }: Guarded): string[] {
  const texts = holds.map(({ by, expires }) => `held by ${by} until ${expires}`)
  return pin ? [`pinned${pin.note ? `: ${pin.note}` : ''}`, ...texts] : texts
}

function sortIn(found: Guarded, hold: Hold, now: Date): void {
  if (new Date(hold.expires) > now) found.holds.push(hold)
  else found.expired.push(hold.run)
}

/** Somebody wanted it to stay: what cannot be read keeps it, and whoever looks sees why. */
const unreadablePin: Pin = { pinned: '1970-01-01T00:00:00Z', note: 'the pin cannot be read' }

function unreadableHold(word: string): Hold {
  const run = word.slice(holdWord.length)
  return { run, by: `${run}, whose file cannot be read`, since: '1970-01-01T00:00:00Z', expires: forEver }
}

function noneWhenMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error
}
