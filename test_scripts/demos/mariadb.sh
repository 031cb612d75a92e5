#!/usr/bin/env bash
# MariaDB. Takes a minute and 1 GB of memory.
# shellcheck disable=SC2034,SC2154 # demo reads what is set here, and sets work

what="a MariaDB server" where="a new, empty MariaDB server"
# shellcheck source=/dev/null
source test_scripts/servers/mariadb.sh

fill_before() {
  tell "Filling it: half a million rows in related tables, a blob, a view, a procedure, a trigger, an account."
  root before <<'SQL'
CREATE DATABASE shop;
USE shop;
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(80) CHARACTER SET utf8mb4 NOT NULL, since DATE, photo BLOB, KEY (name));
CREATE TABLE orders (id INT PRIMARY KEY, customer INT NOT NULL, total DECIMAL(12, 2), placed TIMESTAMP(6) NULL,
  FOREIGN KEY (customer) REFERENCES customers (id));
INSERT INTO customers SELECT seq, CONCAT('Zoë № ', seq, ' 🛒'), DATE('2020-01-01') + INTERVAL seq % 2000 DAY,
  IF(seq % 10, NULL, REPEAT(UNHEX(MD5(seq)), 20)) FROM seq_1_to_100000;
INSERT INTO orders SELECT seq, 1 + seq % 100000, seq / 7, IF(seq % 3, TIMESTAMP('2026-01-01') + INTERVAL seq SECOND, NULL)
  FROM seq_1_to_400000;
CREATE VIEW spenders AS SELECT customer, SUM(total) AS spent FROM orders GROUP BY customer;
CREATE PROCEDURE discount(percent INT) UPDATE orders SET total = total * (100 - percent) / 100;
CREATE TRIGGER never_free BEFORE INSERT ON orders FOR EACH ROW SET NEW.total = GREATEST(NEW.total, 0.01);
CREATE USER app@'%' IDENTIFIED BY 'of-the-application';
GRANT SELECT, INSERT ON shop.* TO app@'%';
SQL
  contents before >"$work/before.sql"
}

how_it_is_backed_up="Several connections read one snapshot, each table becomes a part; accounts come along, and the manifest is written last."

contents() { # before|after
  mariadb-dump --no-defaults --socket="$work/$1/socket" --user=root --skip-comments --skip-dump-date --order-by-primary --routines \
    --triggers --databases shop
  root "$1" <<<"SHOW GRANTS FOR app@'%'"
}

compare_after() {
  contents after >"$work/after.sql"
  cmp "$work/before.sql" "$work/after.sql"
  tell "$(root after <<<'SELECT COUNT(*) FROM shop.customers') customers," \
    "$(root after <<<'SELECT COUNT(*) FROM shop.orders') orders, and a dump of it all that is the same to the byte."
}
