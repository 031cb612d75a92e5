#!/usr/bin/env bash
# RonDB, two data nodes that become four. Takes 2 to 4 minutes and 6.5 GB of memory.
# shellcheck disable=SC2034,SC2154 # demo reads what is set here, and sets work

what="a cluster of two data nodes" where="a new, empty cluster of four data nodes"

# With too little the servers do not fail, they crawl.
require_all() {
  local megabytes
  test_scripts/ndb home >/dev/null
  megabytes=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
  if ((megabytes >= 6500)); then return; fi
  echo "demo: four data nodes and MySQL take 6.5 GB of memory; $megabytes MB are free. Free some, then run this again." >&2
  exit 2
}

start_before() { test_scripts/ndb start "$work/before" --data-nodes 2 --data-memory 600M; }

start_after() { test_scripts/ndb start "$work/after" --data-nodes 4 --data-memory 400M; }

fill_before() {
  tell "Filling it: 300 MB in related tables, blobs, unique and foreign keys, views, a procedure, a function," \
    "a trigger, an event, accounts and roles."
  use_cluster before
  node test_scripts/seed.ts --socket "$MYSQL_SOCKET" --megabytes 300
  node test_scripts/compare.ts save "$work/before.json" "$MYSQL_SOCKET" --except-account 'backup@%'
  write_secret server username=backup password=backup
}

how_it_is_backed_up="The data nodes write their native backup, all at once; Holdfast adds accounts and definitions, uploads it all,
 and writes the manifest last."

compare_after() {
  use_cluster after
  node test_scripts/compare.ts "$work/before.json" "$MYSQL_SOCKET" --except-account 'backup@%'
}

source_values() {
  use_cluster before
  echo "name: rondb"
  echo "rondb:"
  server_values
  echo "  files: { access: local, path: \"$NDB_DATA_DIR/{node}/BACKUP\" }"
}

target_values() {
  use_cluster after
  echo "name: rondb"
  echo "rondb:"
  server_values
}

server_values() {
  echo "  managementServers: [\"$NDB_CONNECTSTRING\"]"
  echo "  clients: $NDB_HOME/bin"
  echo "  mysql: { host: 127.0.0.1, port: $MYSQL_PORT, credentials: { secret: server }, tls: { mode: disabled } }"
}

end_server() { # before|after
  test_scripts/ndb destroy "$work/$1"
}

use_cluster() { # before|after
  eval "$(test_scripts/ndb env "$work/$1")"
}
