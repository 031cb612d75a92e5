#!/usr/bin/env bash
# The two databases that the scenarios share: starting a cluster takes longer than most of them.
# The primary is full of data and stays as it is; the standby is emptied by whoever needs it empty.
# shellcheck disable=SC2034,SC2154 # run sets prefix and shared; scenarios use what is set here

primary=$prefix-primary
standby=$prefix-standby

start_primary() {
  if kubectl get namespace "$primary" >/dev/null 2>&1; then return; fi
  make_namespace "$primary"
  start_database "$primary" rondb-helm 2
}

# Two MySQL servers: views, routines, events and most accounts must come to both.
start_standby() {
  if kubectl get namespace "$standby" >/dev/null 2>&1; then return; fi
  make_namespace "$standby"
  start_database "$standby" simple 2 2
}

# What the primary holds is kept in $contents.
given_a_seeded_primary() {
  contents=$(notes_on "$primary").json
  await_storage
  give_storage_keys "$primary"
  if [[ -f $contents ]]; then return; fi
  await_database "$primary"
  empty_database "$primary"
  seed_database "$primary" 25
  save_contents "$primary" "$contents"
}

given_a_seeded_standby() {
  await_storage
  given_an_empty_standby
  seed_database "$standby" 10
}

given_an_empty_standby() {
  give_storage_keys "$standby"
  local awaited
  awaited=$(notes_on "$standby").awaited
  if [[ ! -f $awaited ]]; then await_database "$standby" && touch "$awaited"; fi
  empty_database "$standby"
}

# Where to remember what was done in a namespace. A run that was killed leaves notes on namespaces that are gone, and the
# next one has namespaces of the same name.
notes_on() { # NAMESPACE
  local uid
  uid=$(kubectl get namespace "$1" -o 'jsonpath={.metadata.uid}') || fail "there is no namespace $1"
  echo "$shared/$uid"
}

# In a folder of the storage that several scenarios share; release `source`.
given_a_backup_of_the_primary() {
  given_a_seeded_primary
  folder=shared
  nightly "$primary" | install "$primary" source
  if [[ -n $(stored_backups nightly) ]]; then return; fi
  run_now "$primary" source-backup-nightly shared
  await_success "$primary" shared
}
