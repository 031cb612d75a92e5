import { broken, type Cursor, incomplete } from './cursor.ts'
import { decimal, length, moduleData, type Step, string } from './encodings.ts'

/** Walks to the end of a value. A step is done as a whole or begun again; only the bytes of its strings may come in pieces. */
export interface Walker {
  begin(steps: readonly Step[]): void
  /** Throws `incomplete`; called again it goes on where it was. */
  walk(): void
}

interface Level {
  steps: readonly Step[]
  next: number
  /** Rounds, with this one. */
  left: number
}

const modulePieces: Record<number, readonly Step[]> = { 1: [length], 2: [length], 3: [4], 4: [8], 5: [string] }

export function openWalker(cursor: Cursor): Walker {
  let steps: readonly Step[] = []
  let next = 0
  let left = 1
  /** Bytes of a string that are still to pass. */
  let pending = 0
  const outer: Level[] = []

  function enter(inner: readonly Step[], times: number): void {
    if (times === 0) return
    outer.push({ steps, next, left })
    steps = inner
    next = 0
    left = times
  }

  /** True at the end of the value. */
  function endOfRound(): boolean {
    left -= 1
    next = 0
    if (left > 0) return false
    const level = outer.pop()
    if (!level) return true
    steps = level.steps
    next = level.next
    left = level.left
    return false
  }

  function passString(): void {
    const here = Math.min(pending, cursor.buffer.length - cursor.at)
    cursor.at += here
    cursor.mark = cursor.at
    pending -= here
    if (pending > 0) throw incomplete
  }

  function passModuleData(): void {
    const code = cursor.length()
    if (code === 0) {
      next += 1
      return
    }
    const piece = modulePieces[code]
    if (!piece) throw broken(`the value of a module has the opcode ${code}`)
    enter(piece, 1)
  }

  function pass(step: number): void {
    if (step === moduleData) {
      passModuleData()
      return
    }
    if (step > 0) cursor.need(step)
    else if (step === string) pending = cursor.length()
    else if (step === length) cursor.length()
    else if (step === decimal) {
      const bytes = cursor.byte()
      // 253 and more stand for NaN and the infinities
      cursor.need(bytes < 253 ? bytes : 0)
    }
    next += 1
  }

  return {
    begin: (all) => {
      steps = all
      next = 0
      left = 1
      pending = 0
      // setting a length costs, also when it is the same
      if (outer.length > 0) outer.length = 0
    },
    walk: () => {
      for (;;) {
        if (pending > 0) passString()
        cursor.mark = cursor.at
        const step = steps[next]
        if (step === undefined) {
          if (endOfRound()) return
        } else if (typeof step === 'number') pass(step)
        else {
          const times = cursor.length()
          next += 1
          enter(step, times)
        }
      }
    },
  }
}
