#!/usr/bin/env bash
# A worker beside a data node of RonDB: its upload beside rclone and s5cmd, and its memory.
# shellcheck disable=SC2154 # bench sets what is not set here

worker=("${as_job[@]}" job/main.ts worker --log-level warn)

require_all() { :; }

versions() {
  if [[ -n $s5cmd ]]; then echo "s5cmd $("$s5cmd" version)"; fi
}

# --- upload: a node's folder to S3 ---

bench_upload() {
  step "upload: a node's folder of 2 GB"
  given_a_node_folder
  given_an_s3_server
  local sides=(holdfast rclone "rclone tuned") side round
  if [[ -n $s5cmd ]]; then sides+=(s5cmd); fi
  for ((round = 0; round <= rounds; round++)); do
    for side in "${sides[@]}"; do run upload "$round" "$side" "upload_with_${side// /_}"; done
  done
  test_scripts/s3 stop "$work/s3"
  rm -rf "$work/node" "$work/s3"
}

given_a_node_folder() {
  local part folder
  node_folder=$work/node/BACKUP-1795218000
  for part in 1 2; do
    folder=$node_folder/BACKUP-1795218000-PART-$part-OF-2
    mkdir -p "$folder"
    head -c 1G /dev/urandom >"$folder/BACKUP-1795218000-0.1.Data"
    head -c 60K /dev/urandom >"$folder/BACKUP-1795218000.1.ctl"
    head -c 52 /dev/urandom >"$folder/BACKUP-1795218000.1.log"
  done
}

upload_with_holdfast() {
  order_upload "$node_folder" "$endpoint"
  measure --order "$work/order" -- "${worker[@]}"
}

upload_with_rclone() { measure -- "$rclone" copy "$node_folder" "s3:bench/bench"; }

# Parts of our size, and no second reading of the files for a hash of the whole.
upload_with_rclone_tuned() {
  measure -- "$rclone" copy "$node_folder" "s3:bench/bench" --s3-chunk-size 16M --s3-upload-concurrency 5 --s3-disable-checksum
}

upload_with_s5cmd() { measure -- "$s5cmd" --endpoint-url "$endpoint" cp "$node_folder/" "s3://bench/bench/"; }

before_upload() { empty_bucket; }

# The bytes are there.
after_upload() {
  local stored
  stored=$(bytes_of 'BACKUP-1795218000*')
  [[ $stored == $((2 * (2 ** 30 + 60 * 1024 + 52))) ]] || die "the server has $stored bytes after an upload"
}

# What the job sends to a worker: hello, then the order.
order_upload() { # FOLDER ENDPOINT [VALUES-OF-THE-STORAGE]
  cat >"$work/order" <<JSON
{"type":"hello","hello":{"version":"$(node -p 'require("./package.json").version')","plan":"bench","backupId":"1795218000","storages":{"main":{"s3":{"endpoint":"$2","bucket":"bench","credentials":{"secret":"s3-keys"}}${3:+,$3}}},"secretsDir":"$work/secrets","volumesDir":"$work","staging":"$work"}}
{"type":"order","id":1,"order":{"do":"upload","worker":"node-1","beside":{"access":"local","folder":"${1%/*}"},"folder":"${1##*/}","path":"rondb/1","resume":false,"storages":["main"]}}
JSON
}

# --- memory: one large file to a server that keeps nothing ---

bench_memory() {
  step "memory: one file of $gigabytes GB"
  mkdir -p "$work/large"
  write_secret s3-keys access-key-id=test secret-access-key=testtesttest
  truncate -s "${gigabytes}G" "$work/large/BACKUP-1795218000-0.1.Data"
  given_a_stub
  order_upload "$work/large" "$endpoint"
  local round
  for ((round = 1; round <= rounds; round++)); do
    run memory "$round" holdfast measure --order "$work/order" -- "${worker[@]}"
  done
  end_stub
  rm -rf "$work/large"
}

given_a_stub() {
  coproc stub { exec node test_scripts/bench.ts stub; }
  read -r endpoint <&"${stub[0]}"
  echo "$stub_PID" >"$work/stub.pid"
}

end_stub() {
  kill "$stub_PID"
  rm "$work/stub.pid"
}
