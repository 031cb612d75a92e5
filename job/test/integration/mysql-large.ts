import type { Connection } from 'mysql2/promise'

/** A table that a backup cuts by its key, or cannot. */
export interface LargeTable {
  name: string
  columns: string
  /** What comes after the columns. */
  options?: string
  /** As SQL, of the columns that are not invisible. */
  rows: readonly string[]
  cut: boolean
}

const count = 200
const rows = (of: (i: number) => string) => Array.from({ length: count }, (_, i) => `(${of(i)})`)

/** Every integer type, with and without sign, dense, far apart, at both ends of its range; keys of several columns. */
const cut = [
  { name: 'tiny', columns: '(id TINYINT PRIMARY KEY)', rows: rows((i) => `${i - 128}`) },
  { name: 'small', columns: '(id SMALLINT UNSIGNED PRIMARY KEY)', rows: rows((i) => `${65_535 - i * 300}`) },
  { name: 'medium', columns: '(id MEDIUMINT ZEROFILL PRIMARY KEY)', rows: rows((i) => `${i * 7}`) },
  {
    name: 'two_heaps',
    columns: '(id INT PRIMARY KEY)',
    rows: rows((i) => `${i < count / 2 ? i - 2_147_483_648 : 2_147_483_647 - i}`),
  },
  { name: 'signed', columns: '(id BIGINT PRIMARY KEY)', rows: rows((i) => `${BigInt(i) ** 8n - 2n ** 63n}`) },
  {
    name: 'widest',
    columns: '(id BIGINT UNSIGNED PRIMARY KEY)',
    rows: rows((i) => `${2n ** 64n - 1n - BigInt(i) ** 8n}`),
  },
  {
    name: 'two_columns',
    columns: '(id INT, day DATE, PRIMARY KEY (id, day))',
    rows: rows((i) => `${Math.floor(i / 20)}, '2026-01-01' + INTERVAL ${i} DAY`),
  },
  {
    name: 'parted',
    columns: '(id INT PRIMARY KEY)',
    options: 'PARTITION BY HASH (id) PARTITIONS 3',
    rows: rows((i) => `${i}`),
  },
]

const whole = [
  { name: 'letters', columns: '(id VARCHAR(20) PRIMARY KEY)', rows: rows((i) => `'k${i}'`) },
  { name: 'decimals', columns: '(id DECIMAL(20,2) PRIMARY KEY)', rows: rows((i) => `${i}.5`) },
  { name: 'keyless', columns: '(id INT)', rows: rows((i) => `${i % 10}`) },
  { name: 'other_key', columns: '(id INT NOT NULL, UNIQUE KEY (id))', rows: rows((i) => `${i}`) },
  { name: 'alone', columns: '(id INT PRIMARY KEY)', rows: ['(5)'] },
]

const hiddenKey = {
  name: 'hidden_key',
  columns: '(id INT, hidden BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY)',
  rows: rows((i) => `${i % 5}`),
}

const versioned = {
  name: 'versioned',
  columns: '(id INT PRIMARY KEY)',
  options: 'WITH SYSTEM VERSIONING',
  rows: rows((i) => `${i}`),
}

export function largeTables(product: 'MySQL' | 'MariaDB'): LargeTable[] {
  return [
    ...[...cut, hiddenKey].map((table) => ({ ...table, cut: true })),
    ...[...whole, ...(product === 'MariaDB' ? [versioned] : [])].map((table) => ({ ...table, cut: false })),
  ]
}

/** Few rows in a table that the server takes for a large one from its next start on: its statistics say so, and it does not renew them. */
export async function makeLarge(root: Connection, { name, columns, options = '', rows }: LargeTable): Promise<void> {
  await root.query(`CREATE TABLE large.${name} ${columns} STATS_PERSISTENT = 1 STATS_AUTO_RECALC = 0 ${options}`)
  await root.query(`INSERT INTO large.${name} VALUES ${rows.join(', ')}`)
  await root.query(`ANALYZE TABLE large.${name}`)
  const pages = (100 * 1024) / 16
  await root.query(
    `UPDATE mysql.innodb_table_stats SET clustered_index_size = IF(table_name = ?, ?, ? / 3)
      WHERE database_name = 'large' AND (table_name = ? OR table_name LIKE ?)`,
    [name, pages, pages, name, `${name}#%`],
  )
}
