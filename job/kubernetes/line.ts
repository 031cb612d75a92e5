import { PassThrough } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { Attach } from '@kubernetes/client-node'
import type { Conversation } from '../io/conversation.ts'
import { type FromWorker, heartbeatMs, messages, type ToWorker } from '../io/protocol.ts'
import type { Cluster } from './client.ts'
import { refused } from './refused.ts'

/** Lines to and from a worker's pod over attach. */
export interface Line {
  /** What is sent while the connection is away is lost: `conversation.again` says it once more. */
  send(message: ToWorker): void
  /**
   * Keeps attached until the pod has ended or `hangUp`: a connection that broke, or is silent for longer than two heartbeats, is made
   * again. Resolves when `ended` says why the worker is gone.
   */
  keep(conversation: Conversation, ended: () => Promise<boolean>): Promise<void>
  hangUp(): void
}

const retryMs = 1000

export function openLine(
  { kubeConfig, namespace }: Cluster,
  { pod, container }: { pod: string; container: string },
): Line {
  let input: PassThrough | undefined
  let socket: Awaited<ReturnType<Attach['attach']>> | undefined
  let over = false

  async function connection(conversation: Conversation): Promise<void> {
    const output = new PassThrough()
    const attached = new PassThrough()
    // stdin of the container stays open: it is not told that this end is gone (stdinOnce: false)
    socket = await new Attach(kubeConfig).attach(namespace, pod, container, output, null, attached, false)
    const closed = new Promise<void>((resolve) => socket?.once('close', () => resolve()))
    socket.once('error', () => {})
    if (over) socket.terminate()
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
    keep: async (conversation, ended) => {
      while (!over && !conversation.gone) {
        try {
          await connection(conversation)
        } catch (error) {
          const why = refused(`attach to worker pod ${pod}`, error)
          if (!why.retryable && !(await ended())) conversation.fail(why)
        }
        if (over || conversation.gone || (await ended())) return
        await pause(retryMs)
      }
    },
    hangUp: () => {
      over = true
      socket?.terminate()
    },
  }
}
