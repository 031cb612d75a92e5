// Writes docs/values.md from the schemas that check the values, and from the flags of the command line.
//
//   node test_scripts/values-doc.ts            writes docs/values.md
//   node test_scripts/values-doc.ts --check    ends with 1 when the page is not what it would write

import { readFileSync, writeFileSync } from 'node:fs'
import { z } from 'zod'
import { parse } from '../job/cli.ts'
import { Values } from '../job/config.ts'
import { engines } from '../job/engines/index.ts'
import { chartValues } from '../job/kubernetes/values.ts'

const top = new URL('..', import.meta.url)
const page = new URL('docs/values.md', top)

/** The part of JSON Schema that zod writes for our values. */
interface Schema {
  type?: string | string[]
  description?: string
  default?: unknown
  const?: unknown
  enum?: unknown[]
  anyOf?: Schema[]
  items?: Schema
  pattern?: string
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
  properties?: Record<string, Schema>
  additionalProperties?: Schema | boolean
  required?: string[]
  $defs?: Record<string, Schema>
  $ref?: string
  allOf?: Schema[]
}

interface Row {
  path: string
  type: string
  fallback: string
  meaning: string
  example: string
}

interface Section {
  title: string
  says: string
  /** Where the schema of the section hangs: steps of properties, `*` for any name, `[]` for any entry, `#name` for a definition. */
  at: string[]
  /** Nothing below the section's own values: Kubernetes explains them. */
  flat?: boolean
  /** Names that have a section of their own. */
  without?: string[]
}

const engineNames = engines.map(({ name }) => name)
const parts = ['cluster', 'storages', 'backups', 'restores', 'copies', 'metrics', 'pod', 'job']

const sections: Section[] = [
  {
    title: 'The top level',
    says: 'Names of storages, plans, restores and copies have 1 to 63 of a–z, 0–9 and `-`.',
    at: [],
    without: Object.keys(chartValues).filter((name) => !parts.includes(name)),
    flat: true,
  },
  {
    title: 'storages.NAME.s3',
    says: 'A bucket of AWS, or of any server that speaks S3: versitygw, SeaweedFS, Ceph.',
    at: ['storages', '*', 's3'],
  },
  {
    title: 'storages.NAME.filesystem',
    says: 'A folder: of a mounted volume, or of this machine.',
    at: ['storages', '*', 'filesystem'],
  },
  {
    title: 'storages.NAME.rclone',
    says: 'A folder of any remote that rclone knows: Backblaze B2, Azure, Google Drive, SFTP, WebDAV and some sixty more.',
    at: ['storages', '*', 'rclone'],
  },
  {
    title: 'backups.PLAN',
    says: 'A plan: what is backed up, where to, and how long it is kept.',
    at: ['backups', '*'],
    without: [...engineNames, 'hooks'],
  },
  ...engineSections('backups', 'sources'),
  {
    title: 'restores.NAME',
    says: 'A restore: which backup, and where it goes.',
    at: ['restores', '*'],
    without: [...engineNames, 'hooks'],
  },
  ...engineSections('restores', 'targets'),
  {
    title: 'copies.NAME',
    says: 'A copy: which backups are brought to which storages, when they do not have them. [storage.md](storage.md) explains it.',
    at: ['copies', '*'],
  },
  {
    title: 'metrics',
    says: 'What runs tell Prometheus of themselves. [metrics.md](metrics.md) has the metrics, and rules for alerts.',
    at: ['metrics'],
  },
  {
    title: 'hooks',
    says: 'In `backups.PLAN`, `restores.NAME`, and in each of their sources and targets: what is done around them. [hooks.md](hooks.md) has examples.',
    at: ['backups', '*', 'hooks'],
  },
  {
    title: 'The chart',
    says: 'Only Kubernetes needs these; the job accepts and ignores them. `chart/values.yaml` has the defaults.',
    at: [],
    without: parts,
  },
  {
    title: 'pod',
    says: 'At the top, in `storages.NAME`, `backups.PLAN`, `restores.NAME`, `copies.NAME` and `workers`: fields of pods and containers as Kubernetes has them. They are laid over each other in that order: maps are merged, lists are joined (an entry replaces one of the same name), `null` removes.',
    at: ['#pod'],
    flat: true,
  },
  {
    title: 'job',
    says: 'At the top, in `backups.PLAN`, `restores.NAME` and `copies.NAME`: fields of Jobs and CronJobs as Kubernetes has them, laid over each other like those of `pod`.',
    at: ['#job'],
    flat: true,
  },
]

function engineSections(top: 'backups' | 'restores', list: 'sources' | 'targets'): Section[] {
  return engineNames.map((name) => ({
    title: `${top}.${top === 'backups' ? 'PLAN' : 'NAME'}.${list}[].${name}`,
    says: `${list === 'sources' ? 'What is backed up' : 'What is restored, and where to'}. [engines/${name}.md](engines/${name}.md) explains the choices.`,
    at: [top, '*', list, '[]', name],
  }))
}

/** By the end of the path; the longest end wins. */
const examples: Record<string, string> = {
  cluster: 'cluster: prod-1',
  '(top).storages': 'storages: { main: { filesystem: { path: /backups } } }',
  '(top).backups': 'backups: { nightly: { … } }',
  '(top).restores': 'restores: { once: { … } }',
  '(top).copies': 'copies: { offsite: { … } }',
  metrics: 'metrics: { pushgateway: { url: "http://pushgateway.monitoring:9091" } }',
  'metrics.pushgateway': 'pushgateway: { url: "http://pushgateway.monitoring:9091" }',
  'pushgateway.url': 'url: https://pushgateway.example.org',
  'pushgateway.labels': 'labels: { team: data }',
  'pushgateway.credentials': 'credentials: { secret: pushgateway }',
  'pushgateway.credentials.secret': 'secret: pushgateway',
  'pushgateway.credentials.usernameKey': 'usernameKey: user',
  'pushgateway.credentials.passwordKey': 'passwordKey: pass',
  'pushgateway.credentials.username': 'username: holdfast',
  'pushgateway.tls': 'tls: { ca: { secret: pushgateway-ca } }',
  'pushgateway.tls.mode': 'mode: verify-ca',
  'pushgateway.tls.ca': 'ca: { secret: pushgateway-ca }',
  'pushgateway.tls.ca.secret': 'secret: pushgateway-ca',
  'pushgateway.tls.ca.key': 'key: ca.pem',
  'pushgateway.tls.cert': 'cert: { secret: pushgateway-tls }',
  'pushgateway.tls.cert.secret': 'secret: pushgateway-tls',
  'pushgateway.tls.cert.key': 'key: client.pem',
  'pushgateway.tls.key': 'key: { secret: pushgateway-tls }',
  'pushgateway.tls.key.secret': 'secret: pushgateway-tls',
  'pushgateway.tls.key.key': 'key: client-key.pem',
  'copies.*.plan': 'plan: nightly',
  'copies.*.from': 'from: [main]',
  'copies.*.to': 'to: [offsite]',
  pod: 'pod: { resources: { … } }',
  job: 'job: { backoffLimit: 1 }',
  's3.bucket': 'bucket: backups',
  's3.prefix': 'prefix: prod',
  's3.region': 'region: eu-north-1',
  require: 'require: any',
  's3.endpoint': 'endpoint: https://s3.example.org:8333',
  's3.forcePathStyle': 'forcePathStyle: false',
  's3.credentials': 'credentials: { secret: s3-keys }',
  's3.credentials.secret': 'secret: s3-keys',
  's3.credentials.accessKeyIdKey': 'accessKeyIdKey: AWS_ACCESS_KEY_ID',
  's3.credentials.secretAccessKeyKey': 'secretAccessKeyKey: AWS_SECRET_ACCESS_KEY',
  's3.credentials.sessionTokenKey': 'sessionTokenKey: session-token',
  's3.tls': 'tls: { ca: { secret: s3-ca } }',
  's3.tls.ca': 'ca: { secret: s3-ca }',
  's3.tls.ca.secret': 'secret: s3-ca',
  's3.tls.ca.key': 'key: root.pem',
  's3.tls.insecureSkipVerify': 'insecureSkipVerify: true',
  's3.sse': 'sse: aws:kms',
  's3.kmsKeyId': 'kmsKeyId: alias/backups',
  's3.storageClass': 'storageClass: STANDARD_IA',
  's3.objectLock': 'objectLock: { mode: governance, days: 30 }',
  'objectLock.days': 'days: 30',
  's3.checksums': 'checksums: when-supported',
  's3.signPayload': 'signPayload: true',
  's3.conditionalPut': 'conditionalPut: never',
  's3.signatureVersion': 'signatureVersion: v4',
  's3.partSizeMiB': 'partSizeMiB: 32',
  's3.partsInFlight': 'partsInFlight: 4',
  's3.timeoutSeconds': 'timeoutSeconds: 120',
  'filesystem.path': 'path: /backups',
  'filesystem.claim': 'claim: backups',
  'backups.*.storages': 'storages: [main, offsite]',
  sources: 'sources: [{ name: rondb, rondb: { … } }]',
  name: 'name: rondb',
  hooks: 'hooks: { before: [{ scale: { name: app } }] }',
  'hooks.before': 'before: [{ scale: { name: zync-que } }]',
  'hooks.after': 'after: [{ exec: { selector: app=system, command: [resync] } }]',
  'exec.pod': 'pod: app-0',
  'exec.selector': 'selector: app=system',
  'exec.command': 'command: [sh, -c, "sync"]',
  'http.url': 'url: "https://app.example.org/quiet"',
  'http.headers': 'headers: { content-type: application/json }',
  secretHeaders: 'secretHeaders: { authorization: { secret: app, key: token } }',
  'scale.name': 'name: zync-que',
  retention: 'retention: { daily: 14, weekly: 8, monthly: 12 }',
  'retention.last': 'last: 7',
  'retention.maxAge': 'maxAge: 30d',
  'retention.hourly': 'hourly: 24',
  'retention.daily': 'daily: 14',
  'retention.weekly': 'weekly: 8',
  'retention.monthly': 'monthly: 12',
  'retention.yearly': 'yearly: 7',
  'retention.minimum': 'minimum: 3',
  'retention.storages.*.maxAge': 'maxAge: 365d',
  'retention.storages': 'storages: { offsite: { monthly: 24, yearly: 10 } }',
  limits: 'limits: { bytesPerSecond: 50Mi }',
  'limits.bytesPerSecond': 'bytesPerSecond: 50Mi',
  'limits.between': 'between: { from: "07:00", to: "19:00" }',
  'between.from': 'from: "07:00"',
  'between.to': 'to: "19:00"',
  schedule: 'schedule: "15 2 * * *"',
  timeZone: 'timeZone: Europe/Stockholm',
  suspend: 'suspend: true',
  runNow: 'runNow: "before the upgrade"',
  deadline: 'deadline: 6h',
  keepFailed: 'keepFailed: 24h',
  'restores.*.from': 'from: { plan: nightly, storages: [main] }',
  'from.plan': 'plan: nightly',
  'from.storages': 'storages: [main, offsite]',
  pick: 'pick: 2026-11-21T03:00',
  'restores.*.maxAge': 'maxAge: 26h',
  overwrite: 'overwrite: true',
  token: 'token: second-try',
  targets: 'targets: [{ name: rondb, rondb: { … } }]',
  managementServers: 'managementServers: ["mgm-1:1186", "mgm-2:1186"]',
  clients: 'clients: /opt/rondb/bin',
  mysql: 'mysql: { host: mysqld, credentials: { secret: rondb-backup } }',
  'mysql.host': 'host: mysqld',
  'mysql.port': 'port: 3307',
  'mysql.socket': 'socket: /run/mysqld/mysqld.sock',
  'mysql.servers': 'servers: ["mysqld-0:3306", "mysqld-1:3306"]',
  'mysql.credentials': 'credentials: { secret: rondb-backup }',
  'mysql.credentials.secret': 'secret: rondb-backup',
  'mysql.credentials.usernameKey': 'usernameKey: user',
  'mysql.credentials.passwordKey': 'passwordKey: holdfast',
  'mysql.credentials.username': 'username: holdfast',
  'mysql.tls': 'tls: { mode: verify-ca, ca: { secret: mysql-ca } }',
  'mysql.tls.mode': 'mode: required',
  'mysql.tls.ca': 'ca: { secret: mysql-ca }',
  'mysql.tls.ca.secret': 'secret: mysql-ca',
  'mysql.tls.ca.key': 'key: ca.pem',
  'mysql.tls.cert': 'cert: { secret: mysql-client }',
  'mysql.tls.cert.secret': 'secret: mysql-client',
  'mysql.tls.cert.key': 'key: client-cert.pem',
  'mysql.tls.key': 'key: { secret: mysql-client }',
  'mysql.tls.key.secret': 'secret: mysql-client',
  'mysql.tls.key.key': 'key: client-key.pem',
  files: 'files: { access: local, path: "/var/lib/ndb/{node}/BACKUP" }',
  'files.access': 'access: local',
  'files.path': 'path: "/var/lib/ndb/{node}/BACKUP"',
  'files.dataNodes': 'dataNodes: { selector: "app=ndbmtd" }',
  'files.dataNodes.selector': 'selector: "rondbService=ndbmtd"',
  'files.dataNodes.statefulSets': 'statefulSets: [{ name: node-group-0, replicas: 2 }]',
  'files.dataNodes.statefulSets[].name': 'name: node-group-0',
  'files.dataNodes.statefulSets[].replicas': 'replicas: 2',
  'files.volume': 'volume: rondb-ndbmtd',
  'kubernetes.objects': 'objects: [{ resource: secrets, names: [seed] }]',
  'kubernetes.objects[].resource': 'resource: routes.route.openshift.io',
  'kubernetes.objects[].names': 'names: [seed, web]',
  'kubernetes.objects[].selector': 'selector: app=web',
  'sources[].files.path': 'path: media',
  'targets[].files.path': 'path: media',
  'files.claim': 'claim: system-storage',
  'files.pods': 'pods: { names: [web-0] }',
  'files.pods.names': 'names: [web-0, web-1]',
  'files.pods.selector': 'selector: "app=web"',
  'sources[].files.container': 'container: web',
  'targets[].files.container': 'container: web',
  'files.include': 'include: [uploads, themes/*/logo.png]',
  'files.exclude': 'exclude: [cache, "**/*.tmp"]',
  'files.clients': 'clients: /usr/local/bin',
  'files.container': 'container: ndbmtd',
  snapshot: 'snapshot: start',
  encryption: 'encryption: { secret: rondb-backup, key: encryption }',
  'encryption.secret': 'secret: rondb-backup',
  'encryption.key': 'key: encryption',
  localTables: 'localTables: dump',
  keepLocal: 'keepLocal: 1',
  waitForOther: 'waitForOther: 2h',
  include: 'include: { databases: [shop] }',
  'include.databases': 'databases: [shop]',
  'include.tables': 'tables: [shop.orders]',
  exclude: 'exclude: { tables: [shop.visits] }',
  'exclude.databases': 'databases: [scratch]',
  'exclude.tables': 'tables: [shop.visits]',
  restoreEpoch: 'restoreEpoch: false',
  diskObjects: 'diskObjects: false',
  accounts: 'accounts: false',
  'redis.host': 'host: backend-redis',
  'redis.port': 'port: 6380',
  sentinel: 'sentinel: { servers: [sentinel], master: mymaster }',
  'sentinel.servers': 'servers: ["sentinel-0.sentinel:26379"]',
  'sentinel.master': 'master: mymaster',
  'sentinel.credentials': 'credentials: { secret: sentinel }',
  'sentinel.credentials.secret': 'secret: sentinel',
  'sentinel.credentials.username': 'username: holdfast',
  'sentinel.credentials.usernameKey': 'usernameKey: user',
  'sentinel.credentials.passwordKey': 'passwordKey: pass',
  'redis.cluster': 'cluster: { servers: [redis-cluster] }',
  'redis.cluster.servers': 'servers: ["redis-cluster-0.redis-cluster:6379"]',
  'redis.credentials': 'credentials: { secret: redis }',
  'redis.credentials.secret': 'secret: redis',
  'redis.credentials.username': 'username: holdfast',
  'redis.credentials.usernameKey': 'usernameKey: user',
  'redis.credentials.passwordKey': 'passwordKey: pass',
  'redis.tls': 'tls: { mode: verify-ca, ca: { secret: redis-tls } }',
  'redis.tls.mode': 'mode: disabled',
  'redis.tls.ca': 'ca: { secret: redis-tls }',
  'redis.tls.ca.secret': 'secret: redis-tls',
  'redis.tls.ca.key': 'key: ca.pem',
  'redis.tls.cert': 'cert: { secret: redis-client }',
  'redis.tls.cert.secret': 'secret: redis-client',
  'redis.tls.cert.key': 'key: client-cert.pem',
  'redis.tls.key': 'key: { secret: redis-client }',
  'redis.tls.key.secret': 'secret: redis-client',
  'redis.tls.key.key': 'key: client-key.pem',
  preferReplica: 'preferReplica: false',
  'redis.include': 'include: { keys: ["resque:*"] }',
  'redis.include.databases': 'databases: [0, 3]',
  'include.keys': 'keys: ["resque:*"]',
  'redis.exclude': 'exclude: { databases: [7] }',
  'redis.exclude.databases': 'databases: [7]',
  'exclude.keys': 'keys: ["*:lock"]',
  functions: 'functions: false',
  passwords: 'passwords: { web: { secret: mysql-passwords } }',
  'passwords.*.secret': 'secret: mysql-passwords',
  'passwords.*.key': 'key: web-password',
  decryption: 'decryption: { secret: rondb-backup, key: encryption }',
  'decryption.secret': 'secret: rondb-backup',
  'decryption.key': 'key: encryption',
  staging: 'staging: /scratch',
  parallel: 'parallel: 2',
  enabled: 'enabled: false',
  global: 'global: { … }',
  nameOverride: 'nameOverride: holdfast',
  fullnameOverride: 'fullnameOverride: prod',
  image: 'image: { repository: registry.example.org/holdfast, tag: 1.2.3 }',
  'image.repository': 'repository: registry.example.org/holdfast',
  'image.tag': 'tag: 1.2.3',
  'image.digest': 'digest: sha256:…',
  'image.pullPolicy': 'pullPolicy: Always',
  serviceAccounts: 'serviceAccounts: { backup: { create: false, name: backup } }',
  'serviceAccounts.backup': 'backup: { annotations: { eks.amazonaws.com/role-arn: … } }',
  'serviceAccounts.restore': 'restore: { create: false, name: restore }',
  'serviceAccounts.worker': 'worker: { annotations: { eks.amazonaws.com/role-arn: … } }',
  create: 'create: false',
  'serviceAccounts.backup.name': 'name: backup',
  'serviceAccounts.restore.name': 'name: restore',
  'serviceAccounts.worker.name': 'name: worker',
  rbac: 'rbac: { create: false }',
  coordination: 'coordination: none',
  workers: 'workers: { max: 4 }',
  'workers.max': 'max: 4',
  'workers.scratch': 'scratch: { storageClassName: fast }',
  'workers.scratch.storageClassName': 'storageClassName: fast',
  'workers.pod': 'pod: { resources: { … } }',
  admissionPolicy: 'admissionPolicy: { enabled: true }',
  'admissionPolicy.labels': 'labels: [cost-center]',
  'admissionPolicy.claims': 'claims: [old-data-node]',
  tokenAudiences: 'tokenAudiences: [sts.amazonaws.com.cn]',
  networkPolicy: 'networkPolicy: { enabled: true }',
  dnsPorts: 'dnsPorts: [53]',
  apiServerPorts: 'apiServerPorts: [6443]',
  egress: 'egress: [{ to: [{ podSelector: {} }] }]',
  '#pod.labels': 'labels: { team: data }',
  annotations: 'annotations: { example.org/owner: data }',
  '#pod.nodeSelector': 'nodeSelector: { disk: fast }',
  '#pod.tolerations': 'tolerations: [{ key: dedicated, operator: Exists }]',
  '#pod.affinity': 'affinity: { nodeAffinity: { … } }',
  '#pod.topologySpreadConstraints': 'topologySpreadConstraints: [{ … }]',
  '#pod.priorityClassName': 'priorityClassName: backup',
  '#pod.imagePullSecrets': 'imagePullSecrets: [{ name: registry }]',
  '#pod.extraEnv': 'extraEnv: [{ name: HTTPS_PROXY, value: "http://proxy:3128" }]',
  '#pod.extraVolumes': 'extraVolumes: [{ name: nfs, nfs: { … } }]',
  '#pod.extraVolumeMounts': 'extraVolumeMounts: [{ name: nfs, mountPath: /nfs }]',
  '#pod.resources': 'resources: { limits: { memory: 2Gi } }',
  '#pod.securityContext': 'securityContext: { readOnlyRootFilesystem: false }',
  '#pod.podSecurityContext': 'podSecurityContext: { runAsUser: null }',
  '#job.backoffLimit': 'backoffLimit: 1',
  '#job.startingDeadlineSeconds': 'startingDeadlineSeconds: 600',
  '#job.successfulJobsHistoryLimit': 'successfulJobsHistoryLimit: 10',
  '#job.failedJobsHistoryLimit': 'failedJobsHistoryLimit: 10',
  '#job.podFailurePolicy': 'podFailurePolicy: { rules: [{ … }] }',
  '#job.labels': 'labels: { team: data }',
}

/** What the schemas leave unsaid, because it stands beside it in the code; the longest end of the path wins. */
const meanings: Record<string, string> = {
  '(top).storages': 'places for backups, by a name that you choose; each has one kind',
  '(top).backups': 'plans, by a name that you choose',
  '(top).restores': 'restores, by a name that you choose',
  '(top).copies': 'copies of backups from one storage to another, by a name that you choose',
  'targets[].name': 'name of the source in the backup',
  's3.endpoint': 'URL of an S3 server that is not AWS, with its port',
  'backups.*.storages': 'names of the storages that get the backup; it is read once and sent to all',
  hooks: 'what is done before and after',
  'exec.command': 'program and arguments; there is no shell but the one that is named',
  'scale.name': 'name of the workload',
  'scale.replicas': 'how many replicas it has meanwhile',
  'http.method': 'method of the request',
  'http.headers': 'headers of the request',
  'http.body': 'body of the request',
  'secretHeaders.*.secret': 'name of the Secret',
  'secretHeaders.*.key': 'key in the Secret',
  'scale.kind': 'kind of the workload',
  suspend: 'no next run is shown or started by the schedule',
  runNow:
    'any text: the chart makes a Job that runs once, at once; another text runs again, and so does another plan, image or pod: take it out afterwards',
  'backups.*.deadline': 'a run that began longer ago counts as failed; Kubernetes stops it then',
  'copies.*.schedule':
    'cron schedule as Kubernetes has it; without one, copies are made by hand: `kubectl create job --from=cronjob/…`',
  'copies.*.timeZone': 'time zone of the schedule, such as Europe/Stockholm',
  'copies.*.suspend': 'nothing is copied on its schedule while this is true',
  'copies.*.deadline': 'a run that takes longer is stopped by Kubernetes',
  'restores.*.deadline': 'a run that takes longer is stopped by Kubernetes',
  'restores.*.from': 'where the backup comes from',
  'restores.*.schedule':
    'cron schedule of the restore in Kubernetes, such as that of a standby; without it, it runs once',
  'restores.*.timeZone': 'time zone of the schedule, such as Europe/Stockholm',
  'restores.*.suspend': 'nothing is restored until this is false',
  mysql: 'MySQL servers of the cluster: one of `host`, `socket` and `servers`',
  'mysql.port': 'port of `host`, and of `servers` that name none',
  'credentials.usernameKey': 'key of the user name in the Secret',
  'credentials.passwordKey': 'key of the password in the Secret',
  'credentials.username': 'the user name itself, instead of a key of the Secret',
  tls: 'how the connection is protected; a socket needs nothing',
  'tls.ca.key': 'key of the PEM file in the Secret',
  'tls.cert.key': 'key of the PEM file in the Secret',
  'tls.key.key': 'key of the PEM file in the Secret',
  'encryption.key': 'key of the password in the Secret',
  'include.databases': 'whole databases, with their views, routines and events',
  'redis.include.databases': 'numbers of databases; all when empty',
  'redis.exclude.databases': 'numbers of databases that are left out',
  'exclude.keys': 'patterns of keys that are left out, as KEYS takes them',
  'redis.tls': 'how the connection is protected',
  'redis.credentials.username': 'the ACL user; `default` when absent',
  'sentinel.credentials.username': 'the ACL user; `default` when absent',
  'redis.credentials.usernameKey': 'key of the ACL user in the Secret, instead of `username`',
  'sentinel.credentials.usernameKey': 'key of the ACL user in the Secret, instead of `username`',
  'include.tables': 'single tables, `database.table`',
  'exclude.databases': 'databases that do not come back',
  'mongodb.include.databases': 'whole databases, with their collections and views',
  'mongodb.exclude.databases': 'whole databases that are left out',
  'mongodb.tls': 'how the connection is protected',
  'pushgateway.tls': 'how the connection to an https gateway is protected',
  'exclude.tables': 'single tables that do not come back, `database.table`',
  'passwords.*.secret': 'name of the Secret',
  'passwords.*.key': 'key of the password in the Secret; the user name when absent',
  'decryption.key': 'key of the password in the Secret',
}

const variables: Record<string, string> = {
  HOLDFAST_CONFIG: '`--config`; `holdfast.yaml` in the current folder when neither is given',
  HOLDFAST_SECRETS_DIR: '`--secrets-dir`; `/secrets` when neither is given',
  HOLDFAST_VOLUMES_DIR: '`--volumes-dir`; `/volumes` when neither is given',
  HOLDFAST_TMP_DIR: "`--tmp-dir`; the system's folder for temporary files when neither is given",
  HOLDFAST_TERMINATION_LOG:
    'file that gets the summary of a run as one JSON object of at most 4096 bytes; `/dev/termination-log` when absent and that can be written',
  HOLDFAST_POD_NAME: 'name of the own pod (the chart sets this and all below)',
  HOLDFAST_POD_NAMESPACE: 'namespace of the own pod',
  HOLDFAST_POD_UID: 'uid of the own pod',
  HOLDFAST_JOB_NAME: 'name of the Job that the pod belongs to: its Events and annotations tell of the run',
  HOLDFAST_JOB_UID: 'uid of that Job',
  HOLDFAST_LEASE:
    'name of the Lease that keeps runs of one plan apart; without it none is held, and Kubernetes is told nothing',
  HOLDFAST_LABELS: 'labels of the Lease, as `a=b,c=d`: those of the release and the plan',
  HOLDFAST_LEASE_WAIT: '`true`: wait for the holder of the Lease instead of ending with 25',
  HOLDFAST_WORKER_IMAGE:
    'image of the worker pods, instead of that in the template: an upgrade changes the template under Jobs',
  HOLDFAST_WORKERS:
    'file with the template of worker pods, which only a `backup` or `restore` with a Lease makes; otherwise the first worker lives in the process of the run, and others are child processes',
}

const verbs = [
  ...['backup', 'restore', 'check', 'list', 'show', 'verify', 'prune', 'pin', 'unpin'],
  ...['rewrap', 'adopt', 'copy', 'export', 'import', 'unpack'],
]

async function render(): Promise<string> {
  const schema = z.toJSONSchema(Values, { io: 'input' }) as Schema
  const parts = [
    opening,
    ...sections.map((section) => sectionText(schema, section)),
    '## Flags\n',
    'Every verb takes the flags of the first list.\n',
    fenced(await help()),
    ...(await Promise.all(verbs.map(async (verb) => `### ${verb}\n\n${fenced(await help(verb))}`))),
    '## Environment\n',
    table(
      ['variable', 'stands for'],
      variableNames().map((name) => [`\`${name}\``, variables[name] ?? missing('meaning', name)]),
    ),
    closing,
  ]
  return `${parts.join('\n')}`
}

const opening = `# Values

One YAML file says where backups go, what is backed up, and what is restored. Every value is checked before anything is
done; a wrong one is named with its path. *Written by \`test_scripts/values-doc.ts\` from the schemas in the code: change those.*

- \`{ secret: NAME, key: KEY }\` means the file \`NAME/KEY\` below \`--secrets-dir\`. A line end at its end is not part of it.
- A duration is a number with \`s\`, \`m\`, \`h\` or \`d\`: \`30m\`, \`48h\`.
- *required* means: wherever the object above it is given.
`

const closing = `Without \`credentials\`, S3 storages take what the AWS SDK finds: \`AWS_ACCESS_KEY_ID\` and \`AWS_SECRET_ACCESS_KEY\`, a web
identity, a profile, an instance role. The programs of NDB are looked for in \`clients\`, else on \`PATH\`.
`

function sectionText(schema: Schema, { title, says, at, without = [], flat = false }: Section): string {
  let here: Schema | undefined = schema
  for (const step of at) here = below(here, step)
  if (!here) throw new Error(`the schema has no ${at.join('.')}`)
  const full = at.length === 0 ? '(top)' : at.join('.').replaceAll('.[]', '[]')
  const rows = rowsOf(here, { path: '', full, without, flat })
  const cells = rows.map(({ path, type, fallback, meaning, example }) => [
    `\`${path}\``,
    type,
    fallback,
    meaning.replaceAll('<', '\\<'),
    `\`${example}\``,
  ])
  return `## ${title}\n\n${says}\n\n${table(['value', 'type', 'default', 'meaning', 'example'], cells)}`
}

function below(schema: Schema | undefined, step: string): Schema | undefined {
  if (step.startsWith('#')) return schema?.$defs?.[step.slice(1)]
  if (step === '[]') return schema?.items
  if (step === '*') return schema?.additionalProperties as Schema | undefined
  return schema?.properties?.[step]
}

function rowsOf(
  schema: Schema,
  { path, full, without = [], flat = false }: { path: string; full: string; without?: string[]; flat?: boolean },
): Row[] {
  const rows: Row[] = []
  for (const [name, value] of Object.entries(schema.properties ?? {})) {
    if (without.includes(name)) continue
    const at = { path: path ? `${path}.${name}` : name, full: `${full}.${name}` }
    rows.push(rowOf(value, { ...at, required: schema.required?.includes(name) ?? false }))
    if (flat) continue
    rows.push(...rowsOf(value, { ...at, without }))
    if (value.items?.properties)
      rows.push(...rowsOf(value.items, { path: `${at.path}[]`, full: `${at.full}[]`, without }))
    const entries = value.additionalProperties
    if (typeof entries === 'object' && entries.properties)
      rows.push(...rowsOf(entries, { path: `${at.path}.*`, full: `${at.full}.*`, without }))
  }
  return rows
}

function rowOf(schema: Schema, { path, full, required }: { path: string; full: string; required: boolean }): Row {
  const meaning = longest(meanings, full) ?? schema.description ?? missing('meaning', full)
  const fallback = required
    ? '*required*'
    : schema.default === undefined || isGiven(schema.default)
      ? ''
      : `\`${JSON.stringify(schema.default)}\``
  return {
    path,
    type: typeText(schema),
    fallback,
    meaning: lower(meaning),
    example: longest(examples, full) ?? exampleOf(path, schema),
  }
}

/** Another value than the default, where nobody thought of a better one. */
function exampleOf(path: string, schema: Schema): string {
  const name = path.split('.').at(-1)?.replace('[]', '') ?? ''
  const given = schema.default
  if (schema.enum) return `${name}: ${schema.enum.find((one) => one !== given)}`
  if (schema.type === 'boolean') return `${name}: ${given !== true}`
  if (schema.type === 'integer' || schema.type === 'number')
    return `${name}: ${Number(given ?? schema.minimum ?? 1) + 1}`
  if (schema.type === 'array') return `${name}: [${schema.items?.type === 'object' ? '{ … }' : '…'}]`
  return schema.type === 'object' || schema.anyOf ? `${name}: { … }` : `${name}: …`
}

/** The default of an object says nothing that its members do not say. */
function isGiven(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function lower(text: string): string {
  return /^[A-Z][a-z]*[ ,]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text
}

function longest(texts: Record<string, string>, path: string): string | undefined {
  const ends = Object.keys(texts).filter((end) => path === end || path.endsWith(`.${end}`))
  return texts[ends.sort((a, b) => b.length - a.length)[0] ?? '']
}

function missing(what: string, path: string): never {
  throw new Error(`${path} has no ${what}: describe it in the schema, or in test_scripts/values-doc.ts`)
}

function typeText(schema: Schema): string {
  if (schema.anyOf)
    return schema.anyOf
      .filter(({ type }) => type !== 'null')
      .map(typeText)
      .join(' or ')
  if (schema.const !== undefined) return `\`${schema.const}\``
  if (schema.enum) return schema.enum.map((one) => `\`${one}\``).join(', ')
  if (schema.type === 'array') return `list of ${plural(typeText(schema.items ?? {}))}`
  if (schema.type === 'object') return schema.properties ? 'object' : 'map'
  if (schema.pattern?.includes('[smhd]')) return 'duration'
  if (schema.type === 'integer' || schema.type === 'number') return schema.type + range(schema)
  if (Array.isArray(schema.type)) return schema.type.filter((one) => one !== 'null').join(' or ')
  return schema.type ?? (schema.$ref || schema.allOf ? 'object' : 'any')
}

function plural(type: string): string {
  return type.endsWith('`') ? type : type.replace(/^\w+/, '$&s')
}

function range({ minimum, maximum, exclusiveMinimum }: Schema): string {
  const low = minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER ? minimum : undefined
  const high = maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER ? maximum : undefined
  if (exclusiveMinimum !== undefined) return ` above ${exclusiveMinimum}`
  if (low === undefined) return ''
  return high === undefined ? ` from ${low}` : ` ${low} to ${high}`
}

function table(titles: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`
  return [titles, titles.map(() => '---'), ...rows].map(line).join('')
}

function fenced(text: string): string {
  return `\`\`\`text\n${text.trim()}\n\`\`\`\n`
}

/** As a terminal of 110 columns shows it; a verb's own flags only. */
async function help(verb?: string): Promise<string> {
  const said: string[] = []
  const { log } = console
  const columns = process.stdout.columns
  process.stdout.columns = 110
  console.log = (text: string) => said.push(text)
  try {
    await parse([...(verb ? [verb] : []), '--help'], '')
  } finally {
    console.log = log
    process.stdout.columns = columns
  }
  return verb
    ? said
        .join('\n')
        .replace(commonFlags, '')
        .replace(/\nOptions:\n*$/, '')
    : said.join('\n')
}

const commonFlags = /^ +-c, --config .*\n(?:.*\n)*? +--help .*\n?/m

function variableNames(): string[] {
  const source = readFileSync(new URL('job/config.ts', top), 'utf8')
  return [...source.matchAll(/process\.env\.(HOLDFAST_\w+)/g)].map(([, name = '']) => name)
}

const text = await render()
if (!process.argv.includes('--check')) writeFileSync(page, text)
else if (readFileSync(page, 'utf8') !== text) {
  console.error('docs/values.md is stale: node_modules/.bin/node test_scripts/values-doc.ts writes it anew')
  process.exitCode = 1
}
