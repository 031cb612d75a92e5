#!/usr/bin/env bash
# A data node in its pod: its id is the one that /cluster/nodes gives to the pod's name.
set -euo pipefail

main() {
  local kind id host initial=()
  while read -r kind id _ _ host; do
    if [[ $kind == ndbd && $host == "$HOSTNAME".* ]]; then break; fi
  done </cluster/nodes
  mkdir -p "${VOLUME:?}/${BACKUPS_BELOW:-}"
  if [[ ! -d $VOLUME/ndb_${id}_fs ]]; then initial=(--initial); fi
  exec ndbmtd --ndb-connectstring="${MANAGEMENT:?}" --ndb-nodeid="$id" --foreground --connect-retry-delay=1 "${initial[@]}"
}

main
