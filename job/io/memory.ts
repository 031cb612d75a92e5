/**
 * Gives the memory of bytes that nobody uses any more back at once: the collector does not see for long how much it is, and looks through
 * everything when it does. Not for what others may have a view of.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes
  // a slice may have neighbours
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length) buffer.transfer(0)
}
