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

start_server() { # before|after
  local size=(--data-nodes 2 --data-memory 600M)
  if [[ $1 == after ]]; then size=(--data-nodes 4 --data-memory 400M); fi
  test_scripts/ndb start "$work/$1" "${size[@]}"
}

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

server_values() { # before|after
  use_cluster "$1"
  echo "name: rondb"
  echo "rondb:"
  echo "  managementServers: [\"$NDB_CONNECTSTRING\"]"
  echo "  clients: $NDB_HOME/bin"
  echo "  mysql: { host: 127.0.0.1, port: $MYSQL_PORT, credentials: { secret: server }, tls: { mode: disabled } }"
  if [[ $1 == before ]]; then echo "  files: { access: local, path: \"$NDB_DATA_DIR/{node}/BACKUP\" }"; fi
}

end_server() { # before|after
  test_scripts/ndb destroy "$work/$1"
}

use_cluster() { # before|after
  eval "$(test_scripts/ndb env "$work/$1")"
}
