import { PatchStrategy, setHeaderOptions } from '@kubernetes/client-node'
import { type AskOptions, ask } from './ask.ts'
import type { Cluster } from './client.ts'

/** Adds annotations to the Job that made this pod. */
export async function annotateJob(
  cluster: Cluster,
  annotations: Record<string, string>,
  options: AskOptions,
): Promise<void> {
  const { batch, namespace, identity } = cluster
  if (!identity.job) return
  const { name, uid } = identity.job
  // the uid: never another Job that took the name
  const body = { metadata: { uid, annotations } }
  await ask(
    `patch Job ${name}`,
    (how) =>
      batch.patchNamespacedJob(
        { name, namespace, body },
        setHeaderOptions('Content-Type', PatchStrategy.MergePatch, how),
      ),
    options,
  )
}
