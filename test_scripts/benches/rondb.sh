#!/usr/bin/env bash
# RonDB: whole backups and restores beside NDB's own programs.
# shellcheck disable=SC2154 # bench sets what is not set here

require_all() { test_scripts/ndb home >/dev/null; }

versions() { "$(test_scripts/ndb home)/bin/ndb_mgm" --version | grep -oE '(ndb|RonDB)-[0-9.]+' | sed -n 1p; }

# --- backup: a cluster to S3 ---

bench_backup() {
  local megabytes=$((4 * ${megabytes:-400}))
  step "backup: a cluster with $megabytes MB"
  given_an_s3_server
  given_a_seeded_cluster
  local round
  for ((round = 0; round <= rounds; round++)); do
    run backup "$round" holdfast measure_job backup bench
    run backup "$round" "by hand" measure -- test_scripts/bench by-hand rondb back_up_by_hand
  done
  for ((round = 0; round <= rounds; round++)); do
    run backup_encrypted "$round" holdfast measure_job backup sealed
    run backup_encrypted "$round" "not encrypted" measure_job backup bench
  done
  test_scripts/ndb destroy "$work/cluster"
  seeded=
}

given_a_seeded_cluster() {
  start_cluster
  if [[ -z ${seeded:-} ]]; then
    node test_scripts/seed.ts --socket "$MYSQL_SOCKET" --megabytes "$megabytes"
    rows=$(count_rows)
    seeded=yes
  fi
}

before_backup() { empty_bucket; }
before_backup_encrypted() { empty_bucket; }

# Both data nodes' files are there.
after_backup() {
  local stored
  stored=$(bytes_of '*.Data*')
  ((stored > megabytes * 900000)) || die "the server has $stored bytes of data files after a backup"
}
after_backup_encrypted() { after_backup; }

back_up_by_hand() {
  local id node pids=() pid
  id=$(date +%s)
  ndb_mgm -c "$NDB_CONNECTSTRING" -e "START BACKUP $id SNAPSHOTEND WAIT COMPLETED"
  for node in ${NDB_DATA_NODE_IDS//,/ }; do
    "$rclone" copy "$NDB_DATA_DIR/$node/BACKUP/BACKUP-$id" "s3:bench/bench/$id/rondb/$node" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  mysqldump --no-defaults --user=root --socket="$MYSQL_SOCKET" --no-data --skip-add-drop-table --routines --events \
    --triggers --set-gtid-purged=OFF --no-tablespaces --databases shop warehouse >"$NDB_DATA_DIR/databases.sql"
  "$rclone" copyto "$NDB_DATA_DIR/databases.sql" "s3:bench/bench/$id/databases.sql"
  for node in ${NDB_DATA_NODE_IDS//,/ }; do rm -r "$NDB_DATA_DIR/$node/BACKUP/BACKUP-$id"; done
}

# --- restore: from S3 into a fresh cluster ---

bench_restore() {
  local megabytes=${megabytes:-400}
  step "restore: $megabytes MB into a fresh cluster"
  given_an_s3_server
  given_a_stored_backup
  local round
  for ((round = 0; round <= rounds; round++)); do
    run restore "$round" holdfast measure_job restore bench
    run restore "$round" "by hand" measure -- test_scripts/bench by-hand rondb restore_by_hand "$stored_id"
  done
  test_scripts/ndb destroy "$work/cluster"
}

given_a_stored_backup() {
  given_a_seeded_cluster
  empty_bucket
  stored_id=$(./holdfast backup bench --config "$work/values.yaml" --secrets-dir "$work/secrets" -o json |
    node -p 'JSON.parse(require("fs").readFileSync(0, "utf8")).backup')
}

before_restore() {
  test_scripts/ndb destroy "$work/cluster"
  start_cluster
}

after_restore() {
  local found
  found=$(count_rows)
  [[ $found == "$rows" ]] || die "not everything was restored: $found instead of $rows"
}

restore_by_hand() { # ID
  local id=$1 folder nodes node pids=() pid
  folder=$(mktemp -d)
  "$rclone" copy "s3:bench/bench/$id" "$folder"
  read -ra nodes <<<"${NDB_DATA_NODE_IDS//,/ }"
  make_databases <"$folder/databases.sql"
  run_ndb_restore "${nodes[0]}" --restore-meta --disable-indexes
  for node in "${nodes[@]}"; do
    run_ndb_restore "$node" --restore-data &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  run_ndb_restore "${nodes[0]}" --rebuild-indexes --restore-epoch
  see_tables
  sed -nE 's/^CREATE USER (IF NOT EXISTS )?/CREATE USER IF NOT EXISTS /p' "$folder/users.sql" | as_root
  sed "s/^CREATE TABLE \`/CREATE TABLE IF NOT EXISTS \`/" "$folder/databases.sql" | as_root
  sed '/^CREATE USER /d' "$folder/users.sql" | as_root
  rm -r "$folder"
}

make_databases() { sed -n '/^CREATE DATABASE .*IF NOT EXISTS/p' | as_root; }

run_ndb_restore() { # NODE OPTION...
  ndb_restore --ndb-connectstring="$NDB_CONNECTSTRING" --nodeid="$1" --backupid="$id" --backup-path="$folder/rondb/$1" \
    --no-binlog "${@:2}"
}

see_tables() {
  as_root --execute="SET GLOBAL ndb_metadata_sync = 1"
  until [[ $(as_root -N --execute="SELECT @@GLOBAL.ndb_metadata_sync") == 0 ]]; do sleep 0.1; done
}

# --- nodes: worker pods in Kubernetes ---

bench_nodes() {
  local megabytes=${megabytes:-200}
  step "nodes: backups of 1, 2 and 4 data nodes with $megabytes MB each, in Kubernetes"
  test_scripts/bench_nodes "$results" "$rounds" "$megabytes"
}

# --- the cluster ---

start_cluster() {
  if [[ ! -d $work/cluster ]]; then
    test_scripts/ndb start "$work/cluster" --data-nodes 2 --data-memory $((megabytes * 2))M
  fi
  eval "$(test_scripts/ndb env "$work/cluster")"
  write_secret mysql username=backup password=backup
  recipient=$(a_recipient)
  cat >"$work/values.yaml" <<YAML
storages:
  main: { s3: &bucket { endpoint: "$endpoint", bucket: bench, credentials: { secret: s3-keys } } }
  sealed: { s3: *bucket, encryption: { recipients: [$recipient] } }
backups:
  bench:
    storages: [main]
    sources: &sources
      - name: rondb
        rondb:
          managementServers: ["$NDB_CONNECTSTRING"]
          clients: $NDB_HOME/bin
          mysql: { host: 127.0.0.1, port: $MYSQL_PORT, credentials: { secret: mysql }, tls: { mode: disabled } }
          files: { access: local, path: "$NDB_DATA_DIR/{node}/BACKUP" }
  sealed: { storages: [sealed], sources: *sources }
restores:
  bench:
    from: { plan: bench, storages: [main] }
    pick: latest
    targets:
      - name: rondb
        rondb:
          managementServers: ["$NDB_CONNECTSTRING"]
          clients: $NDB_HOME/bin
          mysql: { host: 127.0.0.1, port: $MYSQL_PORT, credentials: { secret: mysql }, tls: { mode: disabled } }
YAML
}

count_rows() {
  local table
  for table in shop.customers shop.orders shop.order_lines shop.invoices warehouse.stock; do
    as_root -N --execute="SELECT '$table', COUNT(*) FROM $table"
  done
}

as_root() {
  mysql --no-defaults --user=root --host=localhost --socket="$MYSQL_SOCKET" --binary-mode \
    --default-character-set=utf8mb4 --init-command="SET sql_log_bin = 0" "$@"
}
