#!/usr/bin/env bash
# PostgreSQL. Takes a minute.
# shellcheck disable=SC2034,SC2154 # demo reads what is set here, and sets work

what="a PostgreSQL server" where="a new, empty PostgreSQL server"
# shellcheck source=/dev/null
source test_scripts/servers/postgres.sh

fill_before() {
  tell "Filling it: 400000 rows in related tables, JSON, a large object, a view, a function, row security, a role."
  root before <<'SQL'
CREATE DATABASE shop;
\c shop
CREATE ROLE app LOGIN PASSWORD 'of-the-application';
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, details jsonb);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer bigint REFERENCES customers, total numeric(12, 2), placed timestamptz);
INSERT INTO customers (name, details) SELECT 'Zoë № ' || i, jsonb_build_object('n', i) FROM generate_series(1, 100000) i;
INSERT INTO orders (customer, total, placed) SELECT 1 + i % 100000, i / 7.0, timestamptz '2026-01-01' + i * interval '1 second'
  FROM generate_series(1, 300000) i;
CREATE MATERIALIZED VIEW spenders AS SELECT customer, sum(total) AS spent FROM orders GROUP BY customer;
CREATE FUNCTION discount(percent int) RETURNS void LANGUAGE sql AS 'UPDATE orders SET total = total * (100 - percent) / 100';
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders TO app USING (customer = 1);
GRANT SELECT ON orders TO app;
SELECT lo_from_bytea(0, convert_to(repeat('large ', 100000), 'UTF8'));
SQL
  contents before >"$work/before.sql"
}

how_it_is_backed_up="Several connections read one snapshot of each database, each table becomes a part; roles come along, and the manifest is
 written last."

contents() { # before|after
  client "$1" pg_dump shop | grep -v '^--\|restrict'
}

compare_after() {
  contents after >"$work/after.sql"
  cmp "$work/before.sql" "$work/after.sql"
  tell "$(root after <<<$'\\c shop\nSELECT count(*) FROM customers') customers," \
    "$(root after <<<$'\\c shop\nSELECT count(*) FROM orders') orders, and a dump of it all that is the same to the byte."
}
