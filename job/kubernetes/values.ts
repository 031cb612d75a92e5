import { z } from 'zod'

/** What only Kubernetes needs. The chart renders it; the job accepts it, so that one file of values does for both. */

const open = z.record(z.string(), z.unknown())
const texts = z.record(z.string(), z.string().nullable())
const count = z.int().min(0)
const ports = z.array(z.int().min(1).max(65535)).optional()

const Toleration = z.strictObject({
  key: z.string().optional(),
  operator: z.enum(['Exists', 'Equal', 'Lt', 'Gt']).optional(),
  value: z.string().optional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional(),
  tolerationSeconds: z.int().optional(),
})

const Affinity = z.strictObject({
  nodeAffinity: open.nullish(),
  podAffinity: open.nullish(),
  podAntiAffinity: open.nullish(),
})

const SpreadConstraint = z.strictObject({
  maxSkew: z.int().min(1),
  topologyKey: z.string(),
  whenUnsatisfiable: z.enum(['DoNotSchedule', 'ScheduleAnyway']),
  labelSelector: open.optional(),
  matchLabelKeys: z.array(z.string()).optional(),
  minDomains: z.int().min(1).optional(),
  nodeAffinityPolicy: z.enum(['Honor', 'Ignore']).optional(),
  nodeTaintsPolicy: z.enum(['Honor', 'Ignore']).optional(),
})

const EnvVar = z.strictObject({
  name: z.string().min(1),
  value: z.string().optional(),
  valueFrom: open.optional(),
})

const Volume = z.looseObject({ name: z.string().min(1) })

const VolumeMount = z.strictObject({
  name: z.string().min(1),
  mountPath: z.string().startsWith('/'),
  subPath: z.string().optional(),
  subPathExpr: z.string().optional(),
  readOnly: z.boolean().optional(),
  recursiveReadOnly: z.enum(['Disabled', 'IfPossible', 'Enabled']).optional(),
  mountPropagation: z.enum(['None', 'HostToContainer', 'Bidirectional']).optional(),
})

const quantities = z.record(z.string(), z.union([z.string(), z.number(), z.null()]))
const Resources = z.strictObject({
  requests: quantities.nullish(),
  limits: quantities.nullish(),
  claims: z.array(open).nullish(),
})

/** On OpenShift the ids are the namespace's: null takes away what the chart sets. */
const SecurityContext = z.strictObject({
  allowPrivilegeEscalation: z.boolean().nullish(),
  appArmorProfile: open.nullish(),
  capabilities: z.strictObject({ add: z.array(z.string()).nullish(), drop: z.array(z.string()).nullish() }).nullish(),
  privileged: z.boolean().nullish(),
  procMount: z.string().nullish(),
  readOnlyRootFilesystem: z.boolean().nullish(),
  runAsGroup: count.nullish(),
  runAsNonRoot: z.boolean().nullish(),
  runAsUser: count.nullish(),
  seLinuxOptions: open.nullish(),
  seccompProfile: open.nullish(),
})

const PodSecurityContext = z.strictObject({
  appArmorProfile: open.nullish(),
  fsGroup: count.nullish(),
  fsGroupChangePolicy: z.enum(['Always', 'OnRootMismatch']).nullish(),
  runAsGroup: count.nullish(),
  runAsNonRoot: z.boolean().nullish(),
  runAsUser: count.nullish(),
  seLinuxChangePolicy: z.enum(['Recursive', 'MountOption']).nullish(),
  seLinuxOptions: open.nullish(),
  seccompProfile: open.nullish(),
  supplementalGroups: z.array(count).nullish(),
  supplementalGroupsPolicy: z.enum(['Merge', 'Strict']).nullish(),
  sysctls: z.array(z.strictObject({ name: z.string(), value: z.string() })).nullish(),
})

export const Pod = z
  .strictObject({
    labels: texts.nullish().describe('labels of the pods'),
    annotations: texts.nullish().describe('annotations of the pods'),
    nodeSelector: texts.nullish().describe('labels of the machines that the pods may run on'),
    tolerations: z.array(Toleration).nullish().describe('taints that the pods tolerate'),
    affinity: Affinity.nullish().describe('affinity of the pods'),
    topologySpreadConstraints: z.array(SpreadConstraint).nullish().describe('how the pods spread over machines'),
    priorityClassName: z.string().nullish().describe('priority class of the pods'),
    imagePullSecrets: z
      .array(z.strictObject({ name: z.string() }))
      .nullish()
      .describe('names of the Secrets for pulling the image'),
    extraEnv: z.array(EnvVar).nullish().describe('more environment variables, such as a proxy'),
    extraVolumes: z.array(Volume).nullish().describe('more volumes'),
    extraVolumeMounts: z.array(VolumeMount).nullish().describe('where the container mounts them'),
    resources: Resources.nullish().describe('memory and CPU'),
    securityContext: SecurityContext.nullish().describe('security of the container'),
    podSecurityContext: PodSecurityContext.nullish().describe('security of the pod'),
  })
  .meta({ id: 'pod' })
export type Pod = z.infer<typeof Pod>

export const PodJob = z
  .strictObject({
    backoffLimit: count.nullish().describe('how many pods may fail before the Job has failed'),
    startingDeadlineSeconds: z
      .int()
      .min(10, 'Kubernetes looks at schedules every 10 seconds only')
      .nullish()
      .describe('how late a scheduled run may still start'),
    successfulJobsHistoryLimit: count.nullish().describe('how many finished Jobs of a CronJob stay'),
    failedJobsHistoryLimit: count.nullish().describe('how many failed Jobs of a CronJob stay'),
    podFailurePolicy: z
      .strictObject({ rules: z.array(open) })
      .nullish()
      .describe('which exit codes fail the Job at once, and what does not count'),
    labels: texts.nullish().describe('labels of Jobs and CronJobs'),
    annotations: texts.nullish().describe('annotations of Jobs and CronJobs'),
  })
  .meta({ id: 'job' })
export type PodJob = z.infer<typeof PodJob>

export const pod = Pod.optional().describe('what only Kubernetes needs; the job ignores it')
export const job = PodJob.optional().describe('what only the Jobs in Kubernetes need; the job ignores it')

const override = z.string().regex(/^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$/, 'a name has 1 to 63 of a-z, 0-9 and -')

function account(whose: string) {
  return z
    .strictObject({
      create: z.boolean().optional().describe('make the account'),
      name: z.string().optional().describe('name of the account'),
      annotations: texts.nullish().describe('annotations, such as those of a workload identity'),
    })
    .optional()
    .describe(`account of ${whose}`)
}

/** Keys of the chart at the root of the values. */
export const chartValues = {
  pod,
  job,
  enabled: z.boolean().optional().describe('what a parent chart may use as its condition'),
  global: open.optional().describe('values of a parent chart for all its charts'),
  nameOverride: override.optional().describe("replaces the chart's name"),
  fullnameOverride: override.optional().describe("begins the names of all objects, instead of the release's name"),
  image: z
    .strictObject({
      repository: z.string().min(1).optional().describe('registry and name of the image'),
      tag: z
        .string()
        .regex(/^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$/, 'a tag has 1 to 128 of A-Z, a-z, 0-9, ., _ and -')
        .optional()
        .describe("tag of the image; the chart's appVersion when empty"),
      digest: z
        .string()
        .regex(/^(sha256:[0-9a-f]{64})?$/, 'a digest is sha256: and 64 hexadecimal digits')
        .optional()
        .describe('digest of the image; it wins over the tag'),
      pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).optional().describe('when the image is pulled'),
    })
    .optional()
    .describe('the image of all pods'),
  serviceAccounts: z
    .strictObject({
      backup: account('the backups'),
      restore: account('the restores'),
      worker: account('the worker pods'),
    })
    .optional()
    .describe('accounts of the pods'),
  rbac: z
    .strictObject({ create: z.boolean().optional().describe('make the roles of the accounts') })
    .optional()
    .describe('what the accounts may do'),
  coordination: z
    .enum(['lease', 'none'])
    .optional()
    .describe(
      'lease: one run of a plan at a time, and events; none: no access to Kubernetes for that, and no worker pods',
    ),
  workers: z
    .strictObject({
      max: z.int().min(1).max(144).optional().describe('how many worker pods a run has at most'),
      scratch: z
        .strictObject({
          storageClassName: z.string().optional().describe('storage class of the volumes that restores download to'),
        })
        .optional()
        .describe('volumes that restores download to'),
      pod: Pod.optional().describe('what worker pods have besides, or instead of, `pod`'),
    })
    .optional()
    .describe("pods beside the data nodes' volumes, and of restores"),
  admissionPolicy: z
    .strictObject({
      enabled: z
        .literal([true, false, 'auto'])
        .optional()
        .describe('auto: where the accounts have rights that need it'),
      labels: z.array(z.string()).optional().describe('keys of labels that the cluster itself puts on new pods'),
      claims: z
        .array(z.string())
        .optional()
        .describe('claims of data nodes that are not named as StatefulSets name theirs'),
      tokenAudiences: z
        .array(z.string())
        .optional()
        .describe("audiences of tokens that the cluster itself mounts for a cloud's identity"),
    })
    .optional()
    .describe('keeps the accounts to pods that are their workers, and to annotations of their Jobs'),
  networkPolicy: z
    .strictObject({
      enabled: z.boolean().optional().describe('make NetworkPolicies for the pods'),
      dnsPorts: ports.describe("ports of the DNS servers' pods"),
      apiServerPorts: ports.describe('ports of the API server, in front of its Service and behind it'),
      egress: z.array(open).optional().describe('more rules of what the pods may reach'),
    })
    .optional()
    .describe('what reaches the pods, and what they reach'),
}
