#!/usr/bin/env bash
# MariaDB: backups beside mysqldump through gzip and through zstd, and mydumper; restores beside the client.
# shellcheck disable=SC2034,SC2154 # bench reads what is set here, and sets what is not

# shellcheck source=/dev/null
source test_scripts/servers/mariadb.sh
# shellcheck source=/dev/null
source test_scripts/servers/debian.sh
server_options=(--innodb-buffer-pool-size=3G --innodb-log-file-size=1G)

bench_mysql() {
  find_mydumper
  bench_engine mysql 2000
}

versions() {
  mariadbd --version | grep -oE '[0-9.]+-MariaDB' | sed -n 1p
  find_mydumper
  if [[ -n $mydumper ]]; then run_mydumper --version | grep -oE 'mydumper [0-9.]+'; fi
}

# On PATH, or Debian's package for this release.
find_mydumper() {
  local folder=$cache/mydumper release
  mydumper=$(command -v mydumper || true)
  if [[ -n $mydumper ]]; then return; fi
  # shellcheck source=/dev/null
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  if [[ ! -x $folder/usr/bin/mydumper ]]; then fetch_package "$folder" "$release" mydumper >&2 || true; fi
  mydumper=$folder/usr/bin/mydumper
  if run_mydumper --version >/dev/null 2>&1; then return; fi
  echo "bench: no mydumper here, and none in Debian's packages: it is left out" >&2
  mydumper=
}

run_mydumper() {
  LD_LIBRARY_PATH=$(printf '%s:' "$cache"/mydumper/{usr/,}lib/*-linux-gnu) "$mydumper" "$@"
}

# Three tables, the largest with half of the bytes. What a server writes to its disk afterwards would be measured, too.
fill() {
  root server <<'SQL'
CREATE DATABASE shop CHARACTER SET utf8mb4;
USE shop;
CREATE TABLE customers (id INT PRIMARY KEY, email VARCHAR(190) NOT NULL, name VARCHAR(120) NOT NULL, address VARCHAR(200),
  phone VARCHAR(30), balance DECIMAL(12, 2), since DATETIME, settings JSON, token CHAR(32) CHARACTER SET ascii, KEY (name));
CREATE TABLE orders (id BIGINT PRIMARY KEY, customer INT NOT NULL, status ENUM('new', 'paid', 'sent', 'returned'), placed DATETIME,
  total DECIMAL(12, 2), currency CHAR(3), address VARCHAR(200), note TEXT, KEY (customer));
CREATE TABLE events (id BIGINT PRIMARY KEY, customer INT NOT NULL, at DATETIME, session CHAR(32) CHARACTER SET ascii, path VARCHAR(200),
  agent VARCHAR(200), took INT, text TEXT, KEY (customer));
SQL
  fill_table events 50
  fill_table orders 30
  fill_table customers 20
  root server <<<"SET GLOBAL innodb_max_dirty_pages_pct = 0; SET GLOBAL innodb_io_capacity_max = 20000; SET GLOBAL innodb_io_capacity = 20000"
  until (($(root server <<<"SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'" | cut -f2) < 100)); do sleep 0.5; done
}

fill_table() { # TABLE PERCENT
  node test_scripts/benches/rows.ts "$1" --megabytes $((megabytes * $2 / 100)) |
    root server --local-infile=1 --execute="SET sql_log_bin = 0; LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE shop.$1 CHARACTER SET utf8mb4"
}

tally() {
  root server <<<"SELECT COUNT(*), SUM(LENGTH(text)) FROM shop.events; SELECT COUNT(*), SUM(LENGTH(note)) FROM shop.orders;
    SELECT COUNT(*), SUM(LENGTH(settings)) FROM shop.customers"
}

backups_by_hand() {
  by_hand "mysqldump + zstd" dump_through_zstd
  if [[ -n $mydumper ]]; then by_hand "mydumper + zstd" dump_with_mydumper; fi
  slowly_by_hand "mysqldump + gzip" dump_through_gzip
}

restores_by_hand() { by_hand "zstd + mysql" load_through_zstd; }

back_up_for_restore() { dump_through_zstd; }

dump() {
  mariadb-dump --no-defaults --socket="$work/server/socket" --user=root --single-transaction --routines --events --databases shop
}

dump_through_zstd() { dump | zstd -q -3 | "$rclone" rcat s3:bench/by-hand/shop.sql.zst; }

dump_through_gzip() { dump | gzip | "$rclone" rcat s3:bench/by-hand/shop.sql.gz; }

dump_with_mydumper() {
  local folder
  find_mydumper
  folder=$(mktemp -d "$work/mydumper.XXXXXX")
  run_mydumper --socket="$work/server/socket" --user=root --database=shop --threads=2 --routines --events --outputdir="$folder"
  zstd -q -3 -T2 --rm -r "$folder"
  "$rclone" copy "$folder" s3:bench/by-hand
  rm -r "$folder"
}

load_through_zstd() { "$rclone" cat s3:bench/by-hand/shop.sql.zst | zstd -q -dc | root server; }
