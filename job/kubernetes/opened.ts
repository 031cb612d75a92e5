/** How long the API server, and the machine of the pod behind it, may take to answer attach or exec. */
const answerMs = 10_000

/** A connection as soon as it is open: the client waits for ever. One that nobody waits for any more is ended when it opens. */
export async function opened<Socket extends { terminate(): void }>(
  opening: Promise<Socket>,
  signal: AbortSignal,
): Promise<Socket> {
  const { promise: givenUp, reject: giveUp } = Promise.withResolvers<never>()
  const timer = setTimeout(() => giveUp(new Error(`no answer within ${answerMs / 1000} s`)), answerMs)
  const stop = () => giveUp(signal.reason)
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await Promise.race([opening, givenUp])
  } catch (error) {
    opening.then(
      (late) => late.terminate(),
      () => {},
    )
    throw error
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}
