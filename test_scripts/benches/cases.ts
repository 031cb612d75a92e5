export interface Case {
  title: string
  what: string
  /** The ratio to the time of other sides that is wanted at most. */
  most?: Record<string, number>
  /** In every run, of every side. */
  seconds?: number
  /** The ratio to the bytes that the other side stores that is wanted at most. */
  stored?: Record<string, number>
  /** Of memory, in MiB. */
  memory?: number
}

/** In the order of the page, by the name of their results. */
export const cases: Record<string, Case> = {
  upload: {
    title: 'Upload of a data node',
    what: `A data node's folder of native files (two parts of 1 GiB, random bytes) to versitygw on the same machine: one worker with
its order on standard input, as the job does it, hashing every part for the manifest; against \`rclone copy\` with its
defaults, the same with parts of our size and without its own second reading for a hash (tuned), and \`s5cmd cp\`.`,
    most: { rclone: 1 },
    memory: 256,
  },
  memory: {
    title: 'Memory of a large upload',
    what: `One worker sends one sparse file to a server that counts bytes and keeps none, so neither disk nor server
limits it; the server is a Node process on the same cores.`,
    memory: 256,
  },
  backup: {
    title: 'A whole backup',
    what: `\`holdfast backup\` of a cluster of two data nodes with 1600 MB to versitygw: checks, accounts, definitions, native backup, upload,
counts, manifest, removal of the local copies. By hand: \`START BACKUP\`, one \`rclone copy\` for each node at the same time,
\`mysqldump --no-data\`, removal; no accounts, no hashes, no checks. A run has about a second of its own, whatever the size: a small cluster
shows it, with 400 MB it took 1.26 times as long as by hand.`,
    most: { 'by hand': 1.15 },
  },
  backup_encrypted: {
    title: 'A whole backup, encrypted',
    what: `The same backup of the cluster for one recipient of age; against the same without encryption. NDB's files are not compressed.`,
    most: { 'not encrypted': 1.1 },
  },
  restore: {
    title: 'A whole restore',
    what: `\`holdfast restore\` of a backup of 400 MB into a fresh cluster: download and verification, tables, rows, indexes, accounts, objects,
grants, proof of every record and table. By hand: \`rclone copy\`, then \`ndb_restore\` and \`mysql\` in the order of
[Restoring by hand](restore-by-hand.md), all nodes' rows at once, without verification and without counting.`,
    most: { 'by hand': 1.1 },
  },
  storages: {
    title: 'A backup on two storages',
    what: `\`holdfast backup\` of a folder of 2 GB of random bytes to versitygw and to a folder on the same disk at once: read once, compressed once,
sent to both. Against the same to each of them alone; the slower one alone is what it is to be measured by. Both write to one disk here,
which two storages elsewhere would not.`,
    most: { 'the bucket alone': 1.15 },
    memory: 256,
  },
  zstd: {
    title: 'Compression',
    what: `2 GB of text (\`test_scripts/benches/rows.ts\`) from a file into a file, in our frames of 2 MiB, which can each be read alone, at level 3; against
\`zstd -T2 -3\`, whose frame is one.`,
    most: { 'zstd -T2 -3': 1.11 },
    stored: { 'zstd -T2 -3': 1.03 },
    memory: 256,
  },
  encryption_of_text: {
    title: 'Encryption of what is compressed',
    what: `\`holdfast backup\` of a folder with 2 GB of text to versitygw, for one recipient of age; against the same without encryption.`,
    most: { 'not encrypted': 1.1 },
    memory: 256,
  },
  encryption_of_files: {
    title: "Encryption of a data node's files",
    what: `A data node's folder of native files (two parts of 1 GiB, random bytes), which are stored as they are, by one worker to versitygw on the same
machine, encrypted; against the same without encryption. The worker has one core for both, where the S3 server leaves it one.`,
    most: { 'not encrypted': 1.1 },
    memory: 256,
  },
  sizes: {
    title: 'Memory of streams of every size',
    what: `One stream as a backup writes it, compressed and encrypted, half of it random, to a server that counts bytes and keeps none; no other part of the
job is loaded.`,
    memory: 256,
  },
  mysql_backup: {
    title: 'A backup of MariaDB',
    what: `\`holdfast backup\` of a MariaDB server with three tables of 2 GB together (\`test_scripts/benches/rows.ts\`) to versitygw: checks, accounts,
definitions, rows over several connections, counts, manifest. By hand, each from one command line: \`mysqldump --single-transaction\` through
\`zstd -3\` or \`gzip\` into \`rclone rcat\`; \`mydumper -t2\` into a folder, then \`zstd -3 -T2\` and \`rclone copy\`. The rows are in the server's memory.`,
    most: { 'mysqldump + gzip': 0.15, 'mysqldump + zstd': 0.7, 'mydumper + zstd': 1 },
    memory: 256,
  },
  mysql_restore: {
    title: 'A restore of MariaDB',
    what: `\`holdfast restore\` of that backup into an empty server with a binary log: every part is read and verified first, then loaded over
several connections, and the rows of each table are counted. By hand: \`rclone cat\` through \`zstd -d\` into \`mysql\`, unverified.`,
    most: { 'zstd + mysql': 1 },
    memory: 256,
  },
  postgres_backup: {
    title: 'A backup of PostgreSQL',
    what: `\`holdfast backup\` of a PostgreSQL server with a database of three tables of 2 GB together to versitygw: checks, roles, structure and
rows by several \`pg_dump\` on one snapshot, each archive read while it passes, manifest. By hand: \`pg_dump -Fd -j2\` into a folder, then \`rclone copy\`;
\`pg_dump -Fc\` into \`rclone rcat\`; both compress with zlib, as they do unless told.`,
    most: { 'pg_dump -Fc': 0.5, 'pg_dump -Fd -j2': 1 },
    memory: 256,
  },
  postgres_restore: {
    title: 'A restore of PostgreSQL',
    what: `\`holdfast restore\` of that backup into an empty server: structure, rows by COPY, indexes, proof of every table's rows,
statistics for the planner. By hand: \`rclone copy\`, then \`pg_restore -j2\`; without proof and without statistics.`,
    most: { 'pg_restore -j2': 1 },
    memory: 256,
  },
  redis_backup: {
    title: 'A backup of Redis',
    what: `\`holdfast backup\` of a Redis server with 1 GB of sessions, hashes, lists and sorted sets to versitygw: the snapshot as a replica gets it,
each key read while it passes, compressed, manifest. By hand: \`redis-cli --rdb\` into a file, then \`rclone copyto\`, uncompressed.`,
    most: { 'redis-cli --rdb': 1.05 },
    memory: 256,
  },
  redis_restore: {
    title: 'A restore of Redis',
    what: `\`holdfast restore\` of that backup into an empty server that runs and has an append-only file: every key with its end, each reply looked at,
the append-only file synced, proof. By hand, as operators do it: the server is shut down, \`rclone copyto\` puts the file in its
folder, it is started on it without an append-only file, which is then turned on and written. The server does not answer meanwhile.`,
    most: { 'started on the file': 1.05 },
    memory: 256,
  },
  mongodb_backup: {
    title: 'A backup of MongoDB',
    what: `\`holdfast backup\` of a server with one collection of 1 GB to versitygw: the archive of \`mongodump\`, every collection's end looked for,
compressed, manifest. By hand: \`mongodump --archive\` through \`zstd -3\`, or with its own \`--gzip\`, into \`rclone rcat\`.`,
    most: { 'mongodump + zstd': 1.05 },
    memory: 256,
  },
  mongodb_restore: {
    title: 'A restore of MongoDB',
    what: `\`holdfast restore\` of that backup into an empty server: the whole archive is read and verified first, then restored, and documents are
counted. By hand: \`rclone cat\` through \`zstd -d\` into \`mongorestore\`, unverified; it has one writer for a collection unless it is told
otherwise, and holdfast tells it two.`,
    most: { 'zstd + mongorestore': 1.05 },
    memory: 256,
  },
  catalog: {
    title: 'A catalog of 10 000 backups',
    what: `A bucket of versitygw with the manifests and first files of 10 000 backups, an hour apart: \`holdfast list\`, \`holdfast show PLAN latest\`
(find), \`holdfast prune PLAN --dry-run\` with hourly to yearly rules (prune plan). Each makes one listing, in 20 pages of 1000 names, and reads only the
manifests that it shows. Half a second of each is Node and its modules.`,
    seconds: 2,
    memory: 160,
  },
}
