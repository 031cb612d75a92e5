#!/usr/bin/env bash
# What encryption costs: a folder of text, compressed, and a data node's files, which are not; each beside the same without encryption.
# shellcheck disable=SC2034,SC2154 # bench reads what is set here, and sets what is not

# shellcheck source=/dev/null
source test_scripts/benches/worker.sh

require_all() { :; }

versions() { :; }

bench_encryption() {
  step "encryption: a folder of text of 2 GB, and a node's folder of 2 GB"
  given_an_s3_server
  recipient=$(a_recipient)
  local round side
  given_a_folder_of_text
  for ((round = 0; round <= rounds; round++)); do
    for side in holdfast "not encrypted"; do run encryption_of_text "$round" "$side" measure_job backup "${side// /-}"; done
  done
  rm -rf "$work/source"
  given_a_node_folder
  for ((round = 0; round <= rounds; round++)); do
    run encryption_of_files "$round" holdfast upload_to "\"encryption\":{\"recipients\":[\"$recipient\"]}"
    run encryption_of_files "$round" "not encrypted" upload_to ""
  done
  test_scripts/s3 stop "$work/s3"
  rm -rf "$work"/{node,s3}
}

given_a_folder_of_text() {
  mkdir -p "$work/source"
  node test_scripts/benches/rows.ts events --megabytes 1000 >"$work/source/events"
  node test_scripts/benches/rows.ts orders --megabytes 1000 >"$work/source/orders"
  cat >"$work/values.yaml" <<YAML
storages:
  sealed: { s3: &bucket { endpoint: "$endpoint", bucket: bench, credentials: { secret: s3-keys } }, encryption: { recipients: [$recipient] } }
  plain: { s3: *bucket }
backups:
  holdfast: { storages: [sealed], sources: [&source { name: docs, files: { access: local, path: "$work/source" } }] }
  not-encrypted: { storages: [plain], sources: [*source] }
YAML
}

upload_to() { # ENCRYPTION
  order_upload "$node_folder" "$endpoint" "$1"
  measure --order "$work/order" -- "${worker[@]}"
}

before_encryption_of_text() { empty_bucket; }
before_encryption_of_files() { empty_bucket; }

after_encryption_of_text() { (($(bytes_of 'tree.tar.zst*') > 400 * 10 ** 6)) || die "the server has no backup of that folder"; }
after_encryption_of_files() { (($(bytes_of 'BACKUP-1795218000*') > 2 ** 31)) || die "the server has no upload of that folder"; }

# --- sizes: one stream to a server that keeps nothing ---

bench_sizes() {
  step "sizes: streams from 1 KB to 20 GB"
  local size
  recipient=$(a_recipient)
  given_a_stub
  for size in 1K 1M 100M 1G 20G; do
    run sizes 1 "${size}B" measure -- "${as_job[@]}" test_scripts/bench.ts send "$(numfmt --from=si "$size")" "$endpoint" "$recipient"
  done
  end_stub
}
