#!/usr/bin/env bash
# A MySQL server of the cluster in its pod. root gets in by the socket, without a password until somebody sets one.
set -euo pipefail
data=/mysql/data

main() {
  local kind id host
  while read -r kind id _ _ host; do
    if [[ $kind == mysqld && $host == "$HOSTNAME".* ]]; then break; fi
  done </cluster/nodes
  local home options
  home=$(dirname "$(dirname "$(command -v mysqld)")")
  options=(--no-defaults --basedir="$home" --socket=/mysql/mysql.sock --pid-file=/mysql/mysqld.pid --loose-mysqlx=OFF --skip-log-bin
    --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 --performance-schema=OFF --secure-file-priv=)
  if [[ ! -d $data ]]; then
    rm -rf "$data.new"
    mysqld "${options[@]}" --datadir="$data.new" --initialize-insecure
    mv "$data.new" "$data"
  fi
  exec mysqld "${options[@]}" --datadir="$data" --server-id="$id" --ndbcluster --ndb-connectstring="${MANAGEMENT:?}" \
    --ndb-nodeid="$id" --ndb-wait-setup=150 --ndb-wait-connected=150
}

main
