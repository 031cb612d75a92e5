import { isMarkedAsUntransferable } from 'node:worker_threads'

/** Bytes that were given back of memory that several share. */
const given = new WeakMap<ArrayBuffer, number>()

/**
 * Gives the memory of bytes that nobody uses any more back at once: the collector does not see for long how much it is, and looks through
 * everything when it does. Of what was cut from one piece of memory, the last gives it back: each part is given once, and nobody has a
 * view of what was given.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes
  // Node's own, of which everybody gets small pieces, stays
  if (!(buffer instanceof ArrayBuffer) || isMarkedAsUntransferable(buffer)) return
  const sum = (given.get(buffer) ?? 0) + bytes.length
  if (sum === buffer.byteLength) buffer.transfer(0)
  else given.set(buffer, sum)
}
