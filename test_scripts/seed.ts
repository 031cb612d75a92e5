// Fills a MySQL server of an NDB cluster with the data of a shop: tables of every usual kind, and what hangs on them.
//
//   node test_scripts/seed.ts --socket S [--megabytes 300]
//   node test_scripts/seed.ts --host H --port P --user U --password-file F [--megabytes 300]

import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Pool, PoolConnection } from 'mysql2/promise'
import { connect, serverOptions } from './mysql.ts'

interface Filling {
  table: string
  columns: string
  rows: number
  /** Rows of one transaction: NDB keeps a record of every operation in it. */
  batch: number
  /** Values for the row number `i`. @noise holds a megabyte of random bytes. */
  values: string
}

const connections = 4
const noiseBytes = 1 << 20

async function seed(pool: Pool, megabytes: number) {
  const started = Date.now()
  for (const statement of schema) await pool.query(statement)
  for (const fillings of waves(megabytes)) await fill(pool, fillings)
  for (const statement of [...programs, ...accounts, ...lastOrders]) await pool.query(statement)
  console.log(`seeded about ${megabytes} MB in ${Math.round((Date.now() - started) / 1000)} s`)
}

/** Parents before children; most bytes are in blobs, as rows cost time. The numbers give a little more than the megabytes wanted, as NDB's own backup counts them. */
function waves(megabytes: number): Filling[][] {
  const customers = megabytes * 60
  const products = megabytes * 9
  const orders = megabytes * 120
  const invoices = megabytes * 12
  return [
    [
      {
        table: 'shop.customers',
        columns: 'id, email, name, country, preferences, balance, created',
        rows: customers,
        batch: 2500,
        values: `i, CONCAT('customer', i, '@example.org'),
          CONCAT(ELT(1 + i % 6, 'Åsa ', 'Søren ', 'Zoë ', '明 ', 'Олена ', '🦊 '), ELT(1 + i % 5, 'Lindqvist', 'Müller', 'Ørsted', '山田', 'García')),
          ELT(1 + i % 4, 'SE', 'DE', 'JP', NULL),
          JSON_OBJECT('newsletter', i % 3 = 0, 'theme', ELT(1 + i % 2, 'dark', 'light'), 'tags', JSON_ARRAY('vip', i % 17)),
          (i * 7919 % 1000000) / 100 - 5000, TIMESTAMP('2024-01-01') + INTERVAL i * 61000007 MICROSECOND`,
      },
      {
        table: 'shop.products',
        columns: 'id, sku, title, description, price, weight, attributes, picture',
        rows: products,
        batch: 40,
        values: `i, CONCAT('SKU-', LPAD(i, 8, '0')), CONCAT('Produkt №', i), REPEAT(CONCAT('Ein schönes Ding ', i, '. '), 20 + i % 90),
          (i * 104729 % 100000) / 100, i / 7, JSON_OBJECT('colour', ELT(1 + i % 3, 'röd', 'blå', 'grün'), 'size', i % 50),
          IF(i % 11 = 0, NULL, SUBSTRING(@noise, 1 + i * 7919 % (${noiseBytes} - 40000), 20000 + i * 31 % 20000))`,
      },
    ],
    [
      {
        table: 'shop.orders',
        columns: 'id, customer_id, status, placed, total, note',
        rows: orders,
        batch: 2500,
        values: `i, 1 + i * 7919 % ${customers}, ELT(1 + i % 4, 'new', 'paid', 'sent', 'returned'),
          TIMESTAMP('2025-01-01') + INTERVAL i * 31000001 MICROSECOND, (i * 31 % 90000) / 100,
          IF(i % 5, NULL, CONCAT('bitte an Tür №', i % 99, ' abgeben'))`,
      },
      {
        table: 'shop.reviews',
        columns: 'product_id, customer_id, stars, text',
        rows: megabytes * 30,
        batch: 500,
        values: `1 + i % ${products}, 1 + (i DIV ${products}), 1 + i % 5, REPEAT(CONCAT('gut ', i, ' 👍 '), 1 + i % 60)`,
      },
      {
        table: 'warehouse.stock',
        columns: 'product_id, amount, shelf, flags',
        rows: products,
        batch: 2000,
        values: `i, 1000 + i % 100, CONCAT(CHAR(65 + i % 26), '-', i % 40), i % 256`,
      },
      {
        table: 'shop.visits',
        columns: 'address, day, at, year, browser',
        rows: megabytes * 80,
        batch: 2500,
        values: `INET6_ATON(CONCAT('10.', i % 200, '.', i % 250, '.', i % 240)), DATE('2026-01-01') + INTERVAL i % 300 DAY,
          SEC_TO_TIME(i % 86400), 2000 + i % 30, IF(i % 3, 'Firefox', NULL)`,
      },
    ],
    [
      {
        table: 'shop.order_lines',
        columns: 'order_id, line, product_id, quantity, price',
        rows: orders * 2,
        batch: 2500,
        values: `1 + (i - 1) DIV 2, i % 2, 1 + i * 31 % ${products}, 1 + i % 9, (i * 17 % 50000) / 100`,
      },
      {
        table: 'shop.invoices',
        columns: 'order_id, pdf, signed',
        rows: invoices,
        batch: 30,
        values: `1 + i, SUBSTRING(@noise, 1 + i * 104729 % (${noiseBytes} - 80000), 45000 + i * 37 % 30000), UNHEX(SHA2(i, 256))`,
      },
    ],
  ]
}

/** NDB's temporary errors: its redo log or its memory for transactions is full, until what is in them is on the disk. */
const temporary = 1297

/** One statement is one transaction: when it fails, nothing of it is there. */
async function insert(connection: PoolConnection, statement: string) {
  for (let tries = 1; ; tries++) {
    try {
      await connection.query(statement)
      return
    } catch (error) {
      if ((error as { errno?: number }).errno !== temporary || tries === 100) throw error
      await setTimeout(500)
    }
  }
}

/** Every connection takes the next batch of the wave until there is none. */
async function fill(pool: Pool, fillings: Filling[]) {
  const began = Date.now()
  const statements = fillings.flatMap(batches)
  const worker = async () => {
    const connection = await pool.getConnection()
    try {
      await prepare(connection)
      for (let next = statements.shift(); next; next = statements.shift()) await insert(connection, next)
    } finally {
      connection.release()
    }
  }
  await Promise.all(Array.from({ length: connections }, worker))
  const what = fillings.map(({ table, rows }) => `${rows} rows in ${table}`)
  console.log(`${what.join(', ')} (${Math.round((Date.now() - began) / 1000)} s)`)
}

async function prepare(connection: PoolConnection) {
  await connection.query('SET cte_max_recursion_depth = 100000, @noise = ?', [randomBytes(noiseBytes)])
}

function batches({ table, columns, rows, batch, values }: Filling): string[] {
  const statements: string[] = []
  for (let from = 1; from <= rows; from += batch) {
    const to = Math.min(rows, from + batch - 1)
    statements.push(`INSERT INTO ${table} (${columns})
      WITH RECURSIVE numbers (i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM numbers WHERE i < ${to})
      SELECT ${values} FROM numbers`)
  }
  return statements
}

const schema = [
  'CREATE DATABASE shop CHARACTER SET utf8mb4',
  'CREATE DATABASE warehouse CHARACTER SET utf8mb4 COLLATE utf8mb4_bin',
  `CREATE TABLE shop.customers (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email VARCHAR(190) NOT NULL UNIQUE,
    name VARCHAR(120) NOT NULL,
    country CHAR(2),
    preferences JSON,
    balance DECIMAL(12,2) NOT NULL DEFAULT 0,
    created TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY by_name (name, country)
  ) ENGINE=NDB`,
  `CREATE TABLE shop.products (
    id INT NOT NULL PRIMARY KEY,
    sku VARCHAR(40) NOT NULL UNIQUE,
    title VARCHAR(200) NOT NULL,
    description TEXT,
    price DECIMAL(10,2) NOT NULL,
    weight DOUBLE,
    attributes JSON,
    picture MEDIUMBLOB
  ) ENGINE=NDB`,
  `CREATE TABLE shop.orders (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    customer_id BIGINT UNSIGNED NOT NULL,
    status ENUM('new', 'paid', 'sent', 'returned') NOT NULL DEFAULT 'new',
    placed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    total DECIMAL(12,2),
    note VARCHAR(500),
    KEY by_status (status, placed),
    CONSTRAINT order_of_customer FOREIGN KEY (customer_id) REFERENCES shop.customers (id)
  ) ENGINE=NDB`,
  `CREATE TABLE shop.order_lines (
    order_id BIGINT UNSIGNED NOT NULL,
    line TINYINT UNSIGNED NOT NULL,
    product_id INT NOT NULL,
    quantity SMALLINT NOT NULL,
    price DECIMAL(10,2) NOT NULL,
    PRIMARY KEY (order_id, line),
    CONSTRAINT line_of_order FOREIGN KEY (order_id) REFERENCES shop.orders (id) ON DELETE CASCADE,
    CONSTRAINT line_of_product FOREIGN KEY (product_id) REFERENCES shop.products (id)
  ) ENGINE=NDB`,
  `CREATE TABLE shop.reviews (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id INT NOT NULL,
    customer_id BIGINT UNSIGNED NOT NULL,
    stars TINYINT NOT NULL,
    text TEXT,
    UNIQUE KEY once (product_id, customer_id),
    CONSTRAINT review_of_product FOREIGN KEY (product_id) REFERENCES shop.products (id)
  ) ENGINE=NDB`,
  `CREATE TABLE shop.invoices (
    order_id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
    pdf LONGBLOB NOT NULL,
    signed VARBINARY(64),
    CONSTRAINT invoice_of_order FOREIGN KEY (order_id) REFERENCES shop.orders (id)
  ) ENGINE=NDB`,
  // Without a primary key: NDB keeps a hidden one.
  'CREATE TABLE shop.visits (address VARBINARY(16), day DATE, at TIME(3), year YEAR, browser VARCHAR(80)) ENGINE=NDB',
  `CREATE TABLE warehouse.stock (
    product_id INT NOT NULL PRIMARY KEY,
    amount INT NOT NULL,
    shelf VARCHAR(20),
    flags BIT(8)
  ) ENGINE=NDB`,
  `CREATE TABLE warehouse.movements (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    product_id INT NOT NULL,
    amount INT NOT NULL,
    moved TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY by_product (product_id)
  ) ENGINE=NDB`,
]

const programs = [
  `CREATE SQL SECURITY INVOKER VIEW shop.order_totals AS
    SELECT order_id, COUNT(*) AS order_lines, SUM(quantity * price) AS total FROM shop.order_lines GROUP BY order_id`,
  `CREATE VIEW shop.german_customers AS
    SELECT id, name, email FROM shop.customers WHERE country = 'DE' WITH CHECK OPTION`,
  `CREATE FUNCTION shop.with_vat(price DECIMAL(10,2)) RETURNS DECIMAL(10,2) DETERMINISTIC NO SQL
    COMMENT 'moms, Mehrwertsteuer, 消費税' RETURN price * 1.25`,
  `CREATE PROCEDURE shop.place_order(IN customer BIGINT UNSIGNED, IN product INT, IN pieces SMALLINT)
  MODIFIES SQL DATA
  BEGIN
    DECLARE each_price DECIMAL(10,2);
    SELECT price INTO each_price FROM shop.products WHERE id = product;
    INSERT INTO shop.orders (customer_id, total) VALUES (customer, shop.with_vat(each_price * pieces));
    INSERT INTO shop.order_lines VALUES (LAST_INSERT_ID(), 0, product, pieces, each_price);
  END`,
  `CREATE TRIGGER shop.take_from_stock AFTER INSERT ON shop.order_lines FOR EACH ROW
  BEGIN
    UPDATE warehouse.stock SET amount = amount - NEW.quantity WHERE product_id = NEW.product_id;
    INSERT INTO warehouse.movements (product_id, amount) VALUES (NEW.product_id, -NEW.quantity);
  END`,
  `CREATE EVENT warehouse.forget_old_movements ON SCHEDULE EVERY 1 DAY STARTS '2099-01-01 03:00:00' ON COMPLETION PRESERVE
    DO DELETE FROM warehouse.movements WHERE moved < NOW() - INTERVAL 10 YEAR`,
]

const accounts = [
  "CREATE ROLE 'shop_reader', 'shop_writer'",
  "GRANT SELECT, SHOW VIEW ON shop.* TO 'shop_reader'",
  "GRANT INSERT, UPDATE, DELETE, EXECUTE ON shop.* TO 'shop_writer'",
  "GRANT 'shop_reader' TO 'shop_writer'",
  "CREATE USER 'web'@'%' IDENTIFIED BY 'demo-web-1' DEFAULT ROLE 'shop_writer' COMMENT 'der Laden'",
  "CREATE USER 'report'@'10.%' IDENTIFIED BY 'demo-report-1' REQUIRE SSL WITH MAX_USER_CONNECTIONS 3",
  "GRANT 'shop_reader' TO 'report'@'10.%'",
  "GRANT SELECT (id, name) ON shop.customers TO 'report'@'10.%'",
  // This one is kept in NDB itself, so every MySQL server of the cluster has it.
  "CREATE USER 'everywhere'@'%' IDENTIFIED BY 'demo-everywhere-1'",
  "GRANT SELECT, UPDATE ON warehouse.* TO 'everywhere'@'%'",
  "GRANT NDB_STORED_USER ON *.* TO 'everywhere'@'%'",
]

const lastOrders = Array.from({ length: 25 }, (_, n) => `CALL shop.place_order(${n + 1}, ${n + 1}, ${(n % 5) + 1})`)

const { values } = parseArgs({
  options: { ...serverOptions, megabytes: { type: 'string', default: '300' } },
})
const pool = connect(values, connections)
try {
  await seed(pool, Number(values.megabytes))
} finally {
  await pool.end()
}
