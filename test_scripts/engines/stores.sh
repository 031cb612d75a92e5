#!/usr/bin/env bash
# The part of the scenarios that knows the stores beside RonDB: servers of one pod each, and files on a claim. Each function takes the
# namespace and the store's name; a store is told from another one by what answers in its pod.
# shellcheck disable=SC2016,SC2154 # programs run in pods; run sets the images

store_password=of-stores-1

start_store() { # NAMESPACE NAME mysql|postgres|redis|mongodb
  local image port uid=999 data args='[]' env='[]'
  case $3 in
    mysql)
      image=$MYSQL_SERVER_IMAGE port=3306 data=/var/lib/mysql
      env="[{ name: MYSQL_ROOT_PASSWORD, value: $store_password }]"
      ;;
    postgres)
      image=$POSTGRES_SERVER_IMAGE port=5432 data=/var/lib/postgresql/data
      env="[{ name: POSTGRES_PASSWORD, value: $store_password }, { name: PGDATA, value: /var/lib/postgresql/data/here },
        { name: POSTGRES_USER, value: zync }, { name: POSTGRES_DB, value: zync_production }]"
      ;;
    redis) image=$REDIS_SERVER_IMAGE port=6379 data=/data args='[--appendonly, "yes", --enable-debug-command, "yes"]' ;;
    mongodb)
      image=$MONGO_IMAGE port=27017 data=/data/db
      env="[{ name: MONGO_INITDB_ROOT_USERNAME, value: holdfast }, { name: MONGO_INITDB_ROOT_PASSWORD, value: $store_password }]"
      ;;
  esac
  manifest store NAMESPACE "$1" NAME "$2" IMAGE "$image" PORT "$port" UID "$uid" DATA "$data" ARGS "$args" ENV "$env" |
    kubectl apply -f - >/dev/null
}

# With a claim as its files, which a ReadWriteOnce claim keeps on one machine.
start_workload() { # NAMESPACE NAME [CLAIM]
  local kind=emptyDir volume='{}'
  if [[ -n ${3:-} ]]; then kind=persistentVolumeClaim volume="{ claimName: $3 }"; fi
  manifest workload NAMESPACE "$1" NAME "$2" IMAGE "$HOLDFAST_IMAGE" KIND "$kind" VOLUME "$volume" | kubectl apply -f - >/dev/null
}

make_claim() { # NAMESPACE NAME
  kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: $2, namespace: $1 }
spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }
YAML
}

await_workloads() { # NAMESPACE
  local each
  for each in $(kubectl -n "$1" get statefulsets,deployments -o name); do
    kubectl -n "$1" rollout status "$each" --timeout=300s >/dev/null
  done
}

# --- commands in their pods ---

in_store() { # NAMESPACE NAME COMMAND...
  kubectl -n "$1" exec -i "$2-0" -- "${@:3}"
}

mysql_in() { # NAMESPACE NAME
  in_store "$1" "$2" env MYSQL_PWD="$store_password" mysql --no-defaults -uroot -h127.0.0.1 --batch --skip-column-names "${@:3}"
}

psql_in() { # NAMESPACE NAME
  in_store "$1" "$2" env PGPASSWORD="$store_password" psql -h 127.0.0.1 -U zync -d zync_production -qAtX -v ON_ERROR_STOP=1 "${@:3}"
}

in_workload() { # NAMESPACE NAME COMMAND...
  kubectl -n "$1" exec -i "deployment/$2" -- "${@:3}"
}

# --- what is in them, as text to compare ---

# Tables, views, routines and rows.
mysql_contents() { # NAMESPACE NAME DATABASE...
  in_store "$1" "$2" env MYSQL_PWD="$store_password" mysqldump --no-defaults -uroot -h127.0.0.1 --skip-comments --routines --events \
    --order-by-primary --skip-extended-insert --set-gtid-purged=OFF --databases "${@:3}"
}

postgres_contents() { # NAMESPACE NAME
  in_store "$1" "$2" env PGPASSWORD="$store_password" pg_dump -h 127.0.0.1 -U zync --inserts --exclude-schema=holdfast zync_production |
    grep -v '^--\|^\\\(un\)\?restrict '
}

redis_contents() { # NAMESPACE NAME
  in_store "$1" "$2" redis-cli --no-raw EVAL "$(<test_scripts/redis-contents.lua)" 0
}

files_contents() { # NAMESPACE WORKLOAD
  in_workload "$1" "$2" sh -c 'cd /files && find . -mindepth 1 ! -name .holdfast-restore ! -name lost+found -printf "%p %y %m %s %l\n" |
    sed "/ d /s/ [0-9]* $//" | sort && find . -type f ! -name .holdfast-restore -exec sha256sum {} + | sort -k2'
}

# Data of Secrets and ConfigMaps.
objects_contents() { # NAMESPACE KIND NAME...
  kubectl -n "$1" get "$2" "${@:3}" -o 'go-template={{ range .items }}{{ .metadata.name }} {{ .data }}{{ "\n" }}{{ end }}'
}
