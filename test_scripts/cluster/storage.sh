#!/usr/bin/env bash
# The S3 server of the scenarios, and the gate before it that holds requests. Each scenario has a folder of the bucket.
# shellcheck disable=SC2154 # run sets prefix, folder and the images

storage_namespace=$prefix-storage

start_storage() {
  if kubectl -n "$storage_namespace" get deployment s3 >/dev/null 2>&1; then return; fi
  make_namespace "$storage_namespace"
  give_storage_keys "$storage_namespace"
  kubectl -n "$storage_namespace" create configmap storage-scripts --from-file=test_scripts/cluster/scripts/gate.mjs >/dev/null
  manifest storage NAMESPACE "$storage_namespace" S3_IMAGE "$S3_IMAGE" IMAGE "$HOLDFAST_IMAGE" | kubectl apply -f - >/dev/null
}

await_storage() {
  kubectl -n "$storage_namespace" rollout status deployment/s3 --timeout=120s >/dev/null
  kubectl -n "$storage_namespace" rollout status deployment/gate --timeout=120s >/dev/null
}

give_storage_keys() { # NAMESPACE
  kubectl -n "$1" get secret s3-keys >/dev/null 2>&1 ||
    kubectl -n "$1" create secret generic s3-keys --from-literal=access-key-id=test \
      --from-literal=secret-access-key=testtesttest >/dev/null
}

# The value of a storage, by way of the gate or not.
storage() { # [s3|gate]
  echo "{ s3: { endpoint: 'http://${1:-s3}.$storage_namespace:7070', bucket: backups, prefix: $folder," \
    "credentials: { secret: s3-keys } } }"
}

# Requests of this scenario that match wait from now on; those of one that runs beside it do not.
hold_requests() { # METHOD PATTERN
  gate hold "$folder" "^$1 /backups/$folder/.*$2"
}

let_requests_go() { gate open "$folder"; }

requests_wait() { (($(gate held "$folder") > 0)); }

gate() { kubectl -n "$storage_namespace" exec deployment/gate -- node /scripts/gate.mjs "$@"; }

# Ids of the finished backups, oldest first: those with a manifest, which is written last.
stored_backups() { # PLAN
  stored_files | sed -nE "s|^$1/([0-9]+)\.json$|\1|p" | sort -n
}

# Paths below the scenario's folder, sorted.
stored_files() {
  kubectl -n "$storage_namespace" exec deployment/s3 -- sh -c \
    "if [ -d /data/backups/$folder ]; then cd /data/backups/$folder && find . -type f; fi" | sed 's|^\./||' | sort
}
