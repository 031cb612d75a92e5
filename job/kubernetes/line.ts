import { PassThrough } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { Attach } from '@kubernetes/client-node'
import type { Conversation } from '../io/conversation.ts'
import { type FromWorker, heartbeatMs, messages, type ToWorker } from '../io/protocol.ts'
import type { Cluster } from './client.ts'
import { opened } from './opened.ts'
import { refused } from './refused.ts'

/** Lines to and from a worker's pod over attach. */
export interface Line {
  /** What is sent while the connection is away is lost: `conversation.again` says it once more. */
  send(message: ToWorker): void
  /**
   * Keeps attached until the pod has ended or `hangUp`: a connection that broke, or is silent for longer than two heartbeats, is made
   * again. Resolves when the worker is gone.
   */
  keep(conversation: Conversation, look: (signal: AbortSignal) => Promise<Look>): Promise<void>
  hangUp(): void
}

/** What became of our worker's pod; unknown while the API server is away. */
export type Look = 'running' | 'ended' | 'unknown'

const retryMs = 1000

export function openLine(
  { kubeConfig, namespace }: Cluster,
  { pod, container }: { pod: string; container: string },
): Line {
  let input: PassThrough | undefined
  let socket: Awaited<ReturnType<Attach['attach']>> | undefined
  const over = new AbortController()
  const { signal } = over

  async function connection(conversation: Conversation, look: (signal: AbortSignal) => Promise<Look>): Promise<void> {
    const output = new PassThrough()
    const attached = new PassThrough()
    // stdin of the container stays open: it is not told that this end is gone (stdinOnce: false)
    const opening = new Attach(kubeConfig).attach(namespace, pod, container, output, null, attached, false)
    socket = await opened(opening, signal)
    const closed = new Promise<void>((resolve) => socket?.once('close', () => resolve()))
    socket.once('error', () => {})
    // attach knows names only: when our pod is there now, it was there a moment ago, and not the next run's
    if ((await look(signal)) !== 'running' || signal.aborted) socket.terminate()
    if (socket.readyState !== socket.OPEN) return
    const began = Date.now()
    const watch = setInterval(() => {
      const silent = Math.min(conversation.silence(), Date.now() - began)
      if (silent > 2.5 * heartbeatMs) socket?.terminate()
    }, heartbeatMs / 2)
    input = attached
    // what was cut when the last connection broke ends here
    input.write('\n')
    conversation.again()
    const listening = (async () => {
      for await (const message of messages<FromWorker>(output)) conversation.heard(message)
    })()
    if (socket.readyState !== socket.CLOSED) await closed
    clearInterval(watch)
    input = undefined
    output.end()
    await listening
  }

  return {
    send: (message) => void input?.write(`${JSON.stringify(message)}\n`),
    keep: async (conversation, look) => {
      while (!signal.aborted && !conversation.gone) {
        try {
          await connection(conversation, look)
        } catch (error) {
          const why = refused(`attach to worker pod ${pod}`, error)
          if (!why.retryable && (await look(signal)) !== 'ended') conversation.fail(why)
        }
        if (signal.aborted || conversation.gone || (await look(signal)) === 'ended') return
        await pause(retryMs, undefined, { signal }).catch(() => {})
      }
    },
    hangUp: () => {
      over.abort()
      socket?.terminate()
    },
  }
}
