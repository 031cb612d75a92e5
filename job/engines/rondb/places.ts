import { posix } from 'node:path'
import type { Place, SourceRun } from '../../engine.ts'
import { JobError } from '../../errors.ts'
import { showCluster } from './management.ts'
import { defaultPath, type Files, type Source } from './values.ts'

/** Where each data node's backup folder is reached: a pure matter of the values, or of where the nodes run right now. */
export async function placesOf(run: SourceRun, nodes: readonly number[]): Promise<Map<number, Place>> {
  const { files, ...management } = run.source as Source
  if (files.access === 'local') return new Map(nodes.map((node) => [node, localPlace(files, node)]))
  const { dataNodes } = await showCluster({ ...management, signal: run.signal })
  return new Map(
    nodes.map((node) => {
      const address = dataNodes.find((one) => one.id === node)?.address
      if (address === undefined) {
        throw new JobError('server', `data node ${node} is not connected: nobody knows where its files are`, {
          hint: 'its files are part of the backup; start it and take the run up with --resume',
        })
      }
      return [node, podPlace(files, address)]
    }),
  )
}

export function localPlace({ path = '' }: Files, node: number): Place {
  return { access: 'local', folder: path.replaceAll('{node}', String(node)) }
}

/** Pure. Pods of a StatefulSet have names that can be told beforehand. */
export function podPlace({ access, path, dataNodes, volume, container }: Files, address: string): Place {
  const { selector = '', statefulSets } = dataNodes
  const names = statefulSets?.flatMap(({ name, replicas }) =>
    Array.from({ length: replicas }, (_, i) => `${name}-${i}`),
  )
  const pod = { address, ...(names ? { names } : { selector }) }
  if (access === 'exec') return { access, pod, container, folder: posix.normalize(path ?? defaultPath.exec) }
  return { access: 'volume', pod, volume, folder: posix.normalize(path ?? defaultPath.volume) }
}
