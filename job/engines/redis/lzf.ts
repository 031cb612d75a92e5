import { JobError } from '../../errors.ts'

/** What LZF made of `size` bytes. Servers compress texts of more than 20 bytes with it, names of keys too. */
export function lzfDecompress(bytes: Buffer, size: number): Buffer {
  const out = Buffer.alloc(size)
  let to = 0
  let i = 0
  while (i < bytes.length) {
    const control = bytes[i++] as number
    if (control < 32) {
      to += bytes.copy(out, to, i, i + control + 1)
      i += control + 1
      continue
    }
    let length = control >> 5
    if (length === 7) length += bytes[i++] as number
    let from = to - ((control & 31) << 8) - (bytes[i++] as number) - 1
    if (from < 0) throw broken()
    // byte by byte: what is repeated may reach into itself
    for (let left = length + 2; left > 0 && to < size; left--) out[to++] = out[from++] as number
  }
  if (to !== size || i !== bytes.length) throw broken()
  return out
}

function broken(): JobError {
  return new JobError('verification', 'a compressed text in the snapshot is damaged')
}
