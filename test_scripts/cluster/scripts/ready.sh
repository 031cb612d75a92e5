#!/usr/bin/env bash
# Ready: this pod's data node has started.
set -euo pipefail
while read -r kind id _ _ host; do
  if [[ $kind == ndbd && $host == "$HOSTNAME".* ]]; then break; fi
done </cluster/nodes
ndb_mgm --ndb-connectstring="${MANAGEMENT:?}" --connect-retries=1 -e "$id STATUS" | grep -q ': started'
