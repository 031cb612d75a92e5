#!/usr/bin/env bash
# What there is in a storage, with 10 000 backups in it: listed, found, and their retention planned.
# shellcheck disable=SC2154 # bench sets what is not set here

require_all() { :; }

versions() { :; }

bench_catalog() {
  step "catalog: 10 000 backups"
  given_an_s3_server
  given_many_backups
  local round
  for ((round = 0; round <= rounds; round++)); do
    run catalog "$round" list measure_job list
    run catalog "$round" find measure_job show hourly latest
    run catalog "$round" "prune plan" measure_job prune hourly --dry-run
  done
  test_scripts/s3 stop "$work/s3"
  rm -rf "$work/s3"
}

given_many_backups() {
  newest=$(node test_scripts/benches/backups.ts "$bucket" hourly 10000)
  cat >"$work/values.yaml" <<YAML
storages:
  main:
    s3: { endpoint: "$endpoint", bucket: bench, credentials: { secret: s3-keys } }
backups:
  hourly:
    timeZone: Europe/Stockholm
    storages: [main]
    sources: [{ name: data, files: { access: local, path: "$work" } }]
    retention: { hourly: 48, daily: 14, weekly: 8, monthly: 12, yearly: 5 }
YAML
}

# All were seen: those that are shown, and those that are only counted.
after_catalog() {
  case $side in
    list) grep -q '^9980 more of plan hourly' "$work/log" ;;
    find) grep -qE "^backup +$newest\$" "$work/log" ;;
    *) [[ $(grep -cE '^main +[0-9]+ +(keep|remove) ' "$work/log") == 10000 ]] ;;
  esac || die "$side did not see all backups; its output is in $work/log"
}
