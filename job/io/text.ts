import { StringDecoder } from 'node:string_decoder'

/**
 * Bytes as text, piece by piece: a letter may begin in one and end in the next. Not `setEncoding`, which on a stream of pieces makes
 * nonsense of those that wait already.
 */
export async function* decoded(
  data: AsyncIterable<Buffer | string>,
  encoding: BufferEncoding = 'utf8',
): AsyncGenerator<string> {
  const decoder = new StringDecoder(encoding)
  for await (const chunk of data) yield decoder.write(chunk as Buffer)
  yield decoder.end()
}
