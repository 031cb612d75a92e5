#!/usr/bin/env bash
# PostgreSQL, with the newest server of this machine: on a socket. Takes a minute.
# shellcheck disable=SC2034,SC2154 # demo reads what is set here, and sets work

what="a PostgreSQL server" where="a new, empty PostgreSQL server"

require_all() {
  programs=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)
  programs=${programs%/postgres}
  if [[ -x $programs/initdb && -x $programs/pg_dump ]]; then return; fi
  echo "demo: no PostgreSQL server in /usr/lib/postgresql: install Debian's package postgresql, then run this again" >&2
  exit 2
}

start_server() { # before|after
  mkdir -p "$work/$1"
  if [[ $(id -u) == 0 ]]; then chmod 711 "$work" && chown nobody "$work/$1"; fi
  printf 'of-the-demo' >"$work/password"
  chmod 644 "$work/password"
  as_nobody "$programs/initdb" -D "$work/$1/data" -U postgres --auth=scram-sha-256 --pwfile="$work/password" --encoding=UTF8 \
    >"$work/log-$1"
  as_nobody "$programs/pg_ctl" -D "$work/$1/data" -o "-c listen_addresses= -c unix_socket_directories=$work/$1 -c fsync=off" \
    -l "$work/$1/log" -w start >>"$work/log-$1"
}

# PostgreSQL does not run as root.
as_nobody() {
  if [[ $(id -u) == 0 ]]; then
    setpriv --reuid nobody --regid nogroup --clear-groups env -C / "$@"
  else
    "$@"
  fi
}

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
  write_secret server username=postgres password=of-the-demo
}

how_it_is_backed_up="Several connections read one snapshot of each database, each table becomes a part; roles come along, and the manifest is
 written last."

contents() { # before|after
  PGPASSWORD=of-the-demo "$programs/pg_dump" -h "$work/$1" -U postgres shop | grep -v '^--\|restrict'
}

compare_after() {
  contents after >"$work/after.sql"
  cmp "$work/before.sql" "$work/after.sql"
  tell "$(root after <<<$'\\c shop\nSELECT count(*) FROM customers') customers," \
    "$(root after <<<$'\\c shop\nSELECT count(*) FROM orders') orders, and a dump of it all that is the same to the byte."
}

server_values() { # before|after
  echo "name: shop"
  echo "postgres: { host: $work/$1, credentials: { secret: server }, include: { databases: [shop] }, clients: $programs }"
}

root() { # before|after
  PGPASSWORD=of-the-demo "$programs/psql" -h "$work/$1" -U postgres -d postgres -qAtX -v ON_ERROR_STOP=1
}

end_server() { # before|after
  if [[ -f $work/$1/data/postmaster.pid ]]; then as_nobody "$programs/pg_ctl" -D "$work/$1/data" -m immediate -w stop >/dev/null; fi
}
