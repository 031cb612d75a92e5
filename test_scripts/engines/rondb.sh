#!/usr/bin/env bash
# The part of the scenarios that knows RonDB: an NDB cluster in a namespace, what is in it, and the values that name it.
#
# Layouts: `simple`, as one might write it down oneself; `rondb-helm`, as that chart makes it. The namespace remembers
# which it has. Accounts, with the same passwords everywhere, as clusters that follow each other need it: `holdfast` may
# only read (the grants of docs/engines/rondb.md), `holdfast_restore` may do everything.
# shellcheck disable=SC2034,SC2154 # run sets work and the images, scenarios use bulk_files

accounts=(holdfast holdfast_restore)

# --- the servers ---

start_database() { # NAMESPACE LAYOUT DATA_NODES [MYSQLDS [MEGABYTES]]
  local namespace=$1 layout=$2 data_nodes=$3 mysqlds=${4:-1} group
  kubectl label --overwrite namespace "$namespace" "holdfast/layout=$layout" "holdfast/data-nodes=$data_nodes" \
    "holdfast/mysqlds=$mysqlds" >/dev/null
  kubectl -n "$namespace" create configmap ndb-scripts --from-file=test_scripts/cluster/scripts >/dev/null
  kubectl -n "$namespace" create configmap ndb-cluster --from-literal=nodes="$(nodes_of "$@")"$'\n' \
    --from-literal=megabytes="${5:-128}" >/dev/null
  make_passwords "$namespace" "$layout"
  {
    manifest "$layout" NAMESPACE "$namespace" IMAGE "$RONDB_IMAGE" DATA_NODES "$data_nodes" MYSQLDS "$mysqlds"
    if [[ $layout == rondb-helm ]]; then
      for ((group = 0; group * 2 < data_nodes; group++)); do
        echo ---
        manifest rondb-helm-node-group NAMESPACE "$namespace" IMAGE "$RONDB_IMAGE" GROUP "$group" \
          REPLICAS "$((data_nodes > 1 ? 2 : 1))"
      done
    fi
  } | kubectl apply -f - >/dev/null
}

await_database() { # NAMESPACE
  local each i
  for each in $(kubectl -n "$1" get statefulsets -o name); do
    kubectl -n "$1" rollout status "$each" --timeout=300s >/dev/null
  done
  for ((i = 0; i < $(fact "$1" mysqlds); i++)); do make_accounts "$1" "$i"; done
}

# What config.ini is made of: KIND ID GROUP USE HOST.
nodes_of() { # NAMESPACE LAYOUT DATA_NODES [MYSQLDS]
  local layout=$2 data_nodes=$3 mysqlds=${4:-1} i group replica use
  for ((i = 0; i < mysqlds; i++)); do
    if [[ $layout == simple ]]; then echo "mysqld $((67 + i)) - active mysqld-$i.mysqld"; fi
    if [[ $layout == rondb-helm ]]; then echo "mysqld $((67 + i)) - active mysqlds-$i.headless-mysqlds"; fi
  done
  if [[ $layout == simple ]]; then
    for ((i = 0; i < data_nodes; i++)); do echo "ndbd $((i + 1)) $((i / 2)) active ndbmtd-$i.ndbmtd"; done
    return
  fi
  # Room for three replicas in each group, two of them wanted.
  for ((group = 0; group * 2 < data_nodes; group++)); do
    for replica in 0 1 2; do
      use=active
      if ((replica > 1 || group * 2 + replica >= data_nodes)); then use=inactive; fi
      echo "ndbd $((group * 3 + replica + 1)) $group $use node-group-$group-$replica.ndbmtd-ng-$group"
    done
  done
}

# One Secret an account, or rondb-helm's one Secret with a key an account.
make_passwords() { # NAMESPACE LAYOUT
  local account keys=()
  if [[ $2 == rondb-helm ]]; then
    for account in root helm "${accounts[@]}"; do keys+=("--from-literal=$account=$(password_of "$account")"); done
    kubectl -n "$1" create secret generic mysql-passwords "${keys[@]}" >/dev/null
    return
  fi
  for account in "${accounts[@]}"; do
    kubectl -n "$1" create secret generic "mysql-${account//_/-}" --from-literal="username=$account" \
      --from-literal="password=$(password_of "$account")" >/dev/null
  done
}

password_of() { # ACCOUNT
  printf 'of-%s-1' "${1//_/-}"
}

# Called for each MySQL server: accounts without NDB_STORED_USER live in one.
make_accounts() { # NAMESPACE SERVER
  if [[ $(fact "$1" layout) == rondb-helm ]]; then
    # Refused when that was done before; if it should be otherwise, the next statement says so.
    root_password='' sql "$1" "$2" <<<"ALTER USER root@localhost IDENTIFIED BY '$(password_of root)'" 2>/dev/null || true
    sql "$1" "$2" <<SQL
CREATE USER IF NOT EXISTS helm@'%' IDENTIFIED BY '$(password_of helm)';
GRANT NDB_STORED_USER ON *.* TO helm@'%';
SQL
  fi
  sql "$1" "$2" <<SQL
CREATE USER IF NOT EXISTS holdfast@'%' IDENTIFIED BY '$(password_of holdfast)';
GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO holdfast@'%';
CREATE USER IF NOT EXISTS holdfast_restore@'%' IDENTIFIED BY '$(password_of holdfast_restore)';
GRANT ALL ON *.* TO holdfast_restore@'%' WITH GRANT OPTION;
SQL
}

crash_a_data_node() { # NAMESPACE
  kubectl -n "$1" delete "$(data_node_pods "$1" | head -n 1)" --grace-period=0 --force 2>/dev/null >/dev/null
}

# --- what is in it ---

seed_database() { # NAMESPACE MEGABYTES
  with_mysql "$1" 0 node test_scripts/seed.ts --megabytes "$2"
}

save_contents() { # NAMESPACE FILE
  with_mysql "$1" 0 compare save "$2"
}

# Equal in every MySQL server of the cluster: rows, checksums, definitions, accounts.
compare_contents() { # FILE NAMESPACE
  local i
  for ((i = 0; i < $(fact "$2" mysqlds); i++)); do with_mysql "$2" "$i" compare "$1"; done
}

compare() { # [save] FILE --host H --port P --user U --password-file F
  local words=()
  while [[ $1 != --* ]]; do words+=("$1") && shift; done
  node test_scripts/compare.ts "${words[@]}" "mysql://$6@$2:$4" --password-file "$8" \
    --except-account 'holdfast@%' --except-account 'holdfast_restore@%' --except-account 'helm@%'
}

# Everything but the cluster's own accounts.
empty_database() { # NAMESPACE
  local i
  for ((i = 0; i < $(fact "$1" mysqlds); i++)); do
    {
      sql "$1" "$i" <<'SQL'
SELECT CONCAT('DROP DATABASE IF EXISTS `', schema_name, '`;') FROM information_schema.schemata
  WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema', 'ndbinfo');
SELECT CONCAT('DROP USER IF EXISTS ', QUOTE(user), '@', QUOTE(host), ';') FROM mysql.user
  WHERE user NOT LIKE 'mysql.%' AND user NOT IN ('root', 'helm', 'holdfast', 'holdfast_restore');
SQL
    } | sql "$1" "$i"
  done
}

change_something() { # NAMESPACE
  sql "$1" 0 <<<"CREATE TABLE shop.changes_$RANDOM$RANDOM (id INT PRIMARY KEY) ENGINE = NDB"
}

# The id of the backup that the target was last restored from; nothing when there was none.
restored_backup() { # NAMESPACE
  sql "$1" 0 <<<"SELECT backup_id FROM holdfast.restores WHERE state = 'finished'" 2>/dev/null || true
}

restored_at() { # NAMESPACE
  sql "$1" 0 <<<"SELECT finished FROM holdfast.restores"
}

# --- the values that name it ---

# The requests that carry the bytes of a backup, by their path.
bulk_files='\.Data'

source_of() { # NAMESPACE [volume|exec]
  local files
  files=$("files_of_$(fact "$1" layout | tr - _)_by_${2:-volume}" "$1")
  echo "{ name: rondb, rondb: { $(servers_of "$1" holdfast), files: { access: ${2:-volume}$files } } }"
}

target_of() { # NAMESPACE
  echo "{ name: rondb, rondb: { $(servers_of "$1" holdfast_restore) } }"
}

servers_of() { # NAMESPACE ACCOUNT
  if [[ $(fact "$1" layout) == rondb-helm ]]; then
    echo "managementServers: ['mgmds-0.headless-mgmds:1186'], mysql: { host: mysqld, tls: { mode: required }," \
      "credentials: { secret: mysql-passwords, username: $2, passwordKey: $2 } }"
    return
  fi
  local i servers=()
  for ((i = 0; i < $(fact "$1" mysqlds); i++)); do servers+=("'mysqld-$i.mysqld:3306'"); done
  echo "managementServers: ['mgmd:1186'], mysql: { servers: [$(IFS=, && echo "${servers[*]}")], tls: { mode: required }," \
    "credentials: { secret: mysql-${2//_/-} } }"
}

files_of_simple_by_volume() { echo ", volume: data, path: BACKUP, dataNodes: { selector: 'app=ndbmtd' }"; }

files_of_simple_by_exec() {
  echo ", container: ndb, path: /data/BACKUP, dataNodes: { statefulSets: [{ name: ndbmtd, replicas: $(fact "$1" data-nodes) }] }"
}

# That layout is the default.
files_of_rondb_helm_by_volume() { :; }

files_of_rondb_helm_by_exec() {
  local group data_nodes sets=()
  data_nodes=$(fact "$1" data-nodes)
  for ((group = 0; group * 2 < data_nodes; group++)); do
    sets+=("{ name: node-group-$group, replicas: $((data_nodes > 1 ? 2 : 1)) }")
  done
  echo ", dataNodes: { statefulSets: [$(IFS=, && echo "${sets[*]}")] }"
}

# --- what these use ---

fact() { # NAMESPACE layout|data-nodes|mysqlds
  kubectl get namespace "$1" -o "jsonpath={.metadata.labels.holdfast/$2}"
}

data_node_pods() { # NAMESPACE
  if [[ $(fact "$1" layout) == rondb-helm ]]; then
    kubectl -n "$1" get pods -l rondbService=ndbmtd -o name
  else
    kubectl -n "$1" get pods -l app=ndbmtd -o name
  fi
}

mysql_pod() { # NAMESPACE SERVER
  if [[ $(fact "$1" layout) == rondb-helm ]]; then echo "mysqlds-$2"; else echo "mysqld-$2"; fi
}

# Runs what is on standard input, as root on the socket.
sql() { # NAMESPACE SERVER
  local pod password=
  pod=$(mysql_pod "$1" "$2")
  if [[ $pod == mysqlds-* ]]; then password=${root_password-$(password_of root)}; fi
  kubectl -n "$1" exec -i "$pod" -- env MYSQL_PWD="$password" \
    mysql --no-defaults -uroot --socket=/mysql/mysql.sock --batch --skip-column-names
}

# Runs COMMAND … --host H --port P --user U --password-file F against one MySQL server, through the API server.
with_mysql() { # NAMESPACE SERVER COMMAND...
  local namespace=$1 port status=0 forward passwords
  passwords=$(mktemp "$work/password.XXXXXX")
  password_of holdfast_restore >"$passwords"
  exec {forward}< <(exec kubectl -n "$namespace" port-forward "pod/$(mysql_pod "$namespace" "$2")" :3306 2>&1)
  local forwarder=$!
  until [[ ${port:-} == "Forwarding from 127.0.0.1:"* ]]; do
    read -r -u "$forward" port || fail "kubectl port-forward to MySQL server $2 of $namespace ended"
  done
  port=${port#Forwarding from 127.0.0.1:}
  shift 2
  "$@" --host 127.0.0.1 --port "${port%% *}" --user holdfast_restore --password-file "$passwords" || status=$?
  kill "$forwarder" 2>/dev/null || true
  exec {forward}<&-
  return "$status"
}
