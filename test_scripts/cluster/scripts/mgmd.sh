#!/usr/bin/env bash
# The management server in its pod: writes config.ini from the nodes in /cluster/nodes, with the names that outlive addresses.
set -euo pipefail
home=${VOLUME:?}/mgmd

main() {
  mkdir -p "$home"
  write_config >"$home/config.ini"
  exec ndb_mgmd --config-file="$home/config.ini" --configdir="$home" --initial --ndb-nodeid=65 --nodaemon
}

# Small, with short global checkpoints and fast disk writes: starts and backups of a test should not take long.
write_config() {
  cat <<CONFIG
[tcp default]
AllowUnresolvedHostNames=1
[ndbd default]
NoOfReplicas=$(replicas)
ServerPort=11860
DataDir=$VOLUME
FileSystemPath=$VOLUME
BackupDataDir=$VOLUME/${BACKUPS_BELOW:-}
DataMemory=$(</cluster/megabytes)M
AutomaticThreadConfig=0
ThreadConfig=main={count=1},rep={count=1},io={count=1},recv={count=1},ldm={count=2},tc={count=1}
NoOfFragmentLogParts=4
NoOfFragmentLogFiles=4
FragmentLogFileSize=16M
InitFragmentLogFiles=SPARSE
SharedGlobalMemory=$(($(</cluster/megabytes) / 4))M
TransactionMemory=$(($(</cluster/megabytes) / 2))M
DiskPageBufferMemory=16M
MaxNoOfTables=1024
MaxNoOfAttributes=8000
MaxNoOfOrderedIndexes=512
MaxNoOfConcurrentOperations=100000
TimeBetweenGlobalCheckpoints=1000
TransactionInactiveTimeout=60000
HeartbeatIntervalDbDb=15000
MinDiskWriteSpeed=100M
MaxDiskWriteSpeed=400M
BackupDiskWriteSpeedPct=90
CONFIG
  # RonDB sizes its memory by the machine unless told not to.
  if is_rondb; then echo AutomaticMemoryConfig=0; fi
  printf '[ndb_mgmd]\nNodeId=65\nHostName=%s\nDataDir=%s\n' "$(hostname -f)" "$home"
  local kind id group use host
  while read -r kind id group use host; do
    case $kind in
      ndbd) data_node "$id" "$group" "$use" "$host" ;;
      mysqld) printf '[mysqld]\nNodeId=%s\nHostName=%s\n' "$id" "$host.$(domain)" ;;
    esac
  done </cluster/nodes
  for id in {200..219}; do printf '[api]\nNodeId=%d\n' "$id"; done
}

# Only RonDB can keep room for a replica that is not wanted yet.
data_node() { # ID GROUP USE HOST
  if [[ $3 == inactive ]] && ! is_rondb; then return; fi
  printf '[ndbd]\nNodeId=%s\nHostName=%s\n' "$1" "$4.$(domain)"
  if is_rondb; then printf 'NodeGroup=%s\nNodeActive=%s\n' "$2" "$([[ $3 == active ]] && echo 1 || echo 0)"; fi
}

# The slots of the first node group.
replicas() {
  local kind group use found=0
  while read -r kind _ group use _; do
    if [[ $kind == ndbd && $group == 0 ]] && { [[ $use == active ]] || is_rondb; }; then found=$((found + 1)); fi
  done </cluster/nodes
  echo "$found"
}

is_rondb() { ndb_mgmd --version | grep -qi rondb; }

# NAMESPACE.svc.cluster.local, whatever the cluster calls itself.
domain() { hostname -f | cut -d. -f3-; }

main
