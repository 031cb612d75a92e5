#!/usr/bin/env bash
# Redis or Valkey with an append-only file: backups beside redis-cli --rdb; restores beside a server that is started on that file.
# shellcheck disable=SC2034,SC2154 # bench reads what is set here, and sets what is not

# shellcheck source=/dev/null
source test_scripts/servers/redis.sh
server_options=()

bench_redis() { bench_engine redis 1000; }

versions() { "$server" --version | sed -E 's/^(\S+) server v=(\S+).*/\1 \2/'; }

# Saves that the server would begin by itself come before the first run.
fill() {
  node test_scripts/benches/rows.ts redis --megabytes "$megabytes" | ask server --pipe >"$work/log"
  await_files
  ask server BGREWRITEAOF >/dev/null
  await_files
  ask server BGSAVE >/dev/null
  await_files
}

# Nothing is being written, or waits for it.
await_files() {
  while [[ $(ask server INFO persistence) =~ (aof_rewrite_in_progress|aof_rewrite_scheduled|rdb_bgsave_in_progress):1 ]]; do sleep 0.1; done
}

# The marker of a restore is none of them.
tally() { ask server EVAL "return redis.call('DBSIZE') - redis.call('EXISTS', 'holdfast:restore')" 0; }

backups_by_hand() { by_hand "redis-cli --rdb" save_rdb; }

restores_by_hand() { by_hand "started on the file" start_on_rdb; }

back_up_for_restore() { save_rdb; }

save_rdb() {
  ask server --rdb "$work/dump.rdb"
  "$rclone" copyto "$work/dump.rdb" s3:bench/by-hand/dump.rdb
  rm "$work/dump.rdb"
}

# With appendonly it would begin with an empty append-only file: that is turned on, and written, once the keys are there.
start_on_rdb() {
  ask server SHUTDOWN NOSAVE || true
  rm -r "$work/server/appendonlydir"
  "$rclone" copyto s3:bench/by-hand/dump.rdb "$work/server/dump.rdb"
  run_server server "appendonly no"
  ask server CONFIG SET appendonly yes
  await_files
}
