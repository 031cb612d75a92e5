#!/usr/bin/env bash
# Our compression beside zstd's own on both cores.
# shellcheck disable=SC2154 # bench sets what is not set here

require_all() { :; }

versions() { zstd --version | grep -oE 'v[0-9.]+' | sed 's/^v/zstd /'; }

bench_zstd() {
  step "zstd: a file of 2 GB"
  local round
  bucket=$work/compressed
  mkdir -p "$bucket"
  node test_scripts/benches/rows.ts events --megabytes 2000 >"$work/rows"
  for ((round = 0; round <= rounds; round++)); do
    run zstd "$round" holdfast measure -- "${as_job[@]}" test_scripts/bench.ts compress "$work/rows" "$bucket/rows.zst" 3
    run zstd "$round" "zstd -T2 -3" measure -- zstd -q -T2 -3 "$work/rows" -o "$bucket/rows.zst"
  done
  rm -rf "$work/rows" "$bucket"
}

before_zstd() { empty_bucket; }

after_zstd() { zstd -dc "$bucket/rows.zst" | cmp -s - "$work/rows" || die "$side is not what it was made of"; }
