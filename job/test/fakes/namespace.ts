import type { KubernetesObject, KubernetesObjects } from '../../engine.ts'

/** A namespace with ConfigMaps alone, kept in the list that is given: the least that a real engine can back up and restore. */
export function namespaceOf(objects: KubernetesObject[]): KubernetesObjects {
  const named = (name: string) => objects.find(({ metadata }) => metadata.name === name)
  return {
    namespace: 'shop',
    version: async () => 'v1.35.0',
    list: async () => objects,
    read: async (_, name) => named(name),
    create: async (_, object) => !named(object.metadata.name) && objects.push(structuredClone(object)) > 0,
    replace: async (_, object) => {
      objects[objects.indexOf(named(object.metadata.name) as KubernetesObject)] = structuredClone(object)
    },
  }
}

/** A source or target that is all of them. */
export const configMaps = { name: 'objects', kubernetes: { objects: [{ resource: 'configmaps' }] } }

export function configMap(text: string): KubernetesObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'state' }, data: { text } }
}
