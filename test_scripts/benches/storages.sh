#!/usr/bin/env bash
# A backup on two storages at once, beside one on each of them alone.
# shellcheck disable=SC2154 # bench sets what is not set here

require_all() { :; }

versions() { tar --version | head -n 1; }

bench_storages() {
  step "storages: a folder of 2 GB to a bucket, to a folder, and to both"
  local side round
  given_a_folder
  given_an_s3_server
  given_plans
  for ((round = 0; round <= rounds; round++)); do
    for side in holdfast "the bucket alone" "the folder alone"; do run storages "$round" "$side" back_up_to "${side// /-}"; done
  done
  test_scripts/s3 stop "$work/s3"
  rm -rf "$work"/{source,store,s3}
}

given_a_folder() {
  mkdir -p "$work/source" "$work/store"
  head -c 1G /dev/urandom >"$work/source/one"
  head -c 1G /dev/urandom >"$work/source/other"
}

given_plans() {
  cat >"$work/values.yaml" <<YAML
storages:
  bucket: { s3: { endpoint: "$endpoint", bucket: bench, credentials: { secret: s3-keys } } }
  folder: { filesystem: { path: "$work/store" } }
backups:
  holdfast: { storages: [bucket, folder], sources: [&source { name: docs, files: { access: local, path: "$work/source" } }] }
  the-bucket-alone: { storages: [bucket], sources: [*source] }
  the-folder-alone: { storages: [folder], sources: [*source] }
YAML
}

back_up_to() { # PLAN
  plan=$1
  measure_job backup "$plan"
}

before_storages() {
  empty_bucket
  find "$work/store" -mindepth 1 -delete
  sync
}

# Random bytes become no smaller.
after_storages() {
  local folder
  for folder in "$bucket" "$work/store"; do
    [[ $plan == the-bucket-alone && $folder == "$work/store" || $plan == the-folder-alone && $folder == "$bucket" ]] && continue
    find "$folder" -name tree.tar.zst -size +2000M | grep -q . || die "$folder has no backup of 2 GB"
  done
}
