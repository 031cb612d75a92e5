#!/usr/bin/env bash
# PostgreSQL, with the newest server of this machine: on a port, as those of a cluster are reached.
# shellcheck disable=SC2154 # who sources this sets work

require_all() {
  programs=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | sort -V | tail -n 1)
  programs=${programs%/postgres}
  if [[ -x $programs/initdb && -x $programs/pg_dump ]]; then return; fi
  echo "no PostgreSQL server in /usr/lib/postgresql: install Debian's package postgresql, then run this again" >&2
  return 2
}

start_server() { # NAME [OPTION...]
  local folder=$work/$1 password=$work/password-of-$1
  mkdir -p "$folder"
  if [[ $(id -u) == 0 ]]; then chmod 711 "$work" && chown nobody "$folder"; fi
  printf 'of-this-server' >"$password"
  chmod 644 "$password"
  as_nobody "$programs/initdb" -D "$folder/data" -U postgres --auth=scram-sha-256 --pwfile="$password" --encoding=UTF8 >"$work/log-$1"
  free_port >"$folder/port"
  as_nobody "$programs/pg_ctl" -D "$folder/data" -o "-c listen_addresses=127.0.0.1 -c port=$(<"$folder/port") -c unix_socket_directories= -c fsync=off ${*:2}" \
    -l "$folder/log" -w start >>"$work/log-$1"
  write_secret server username=postgres password=of-this-server
}

# PostgreSQL does not run as root.
as_nobody() {
  if [[ $(id -u) == 0 ]]; then
    setpriv --reuid nobody --regid nogroup --clear-groups env -C / "$@"
  else
    "$@"
  fi
}

server_values() { # NAME
  echo "name: shop"
  echo "postgres: { host: 127.0.0.1, port: $(<"$work/$1/port"), tls: { mode: disabled }, credentials: { secret: server }, include: { databases: [shop] }, clients: $programs }"
}

root() { # NAME [OPTION...]
  client "$1" psql -d postgres -qAtX -v ON_ERROR_STOP=1 "${@:2}"
}

client() { # NAME PROGRAM ARGUMENT...
  PGPASSWORD=of-this-server "$programs/$2" -h 127.0.0.1 -p "$(<"$work/$1/port")" -U postgres "${@:3}"
}

end_server() { # NAME
  if [[ -f $work/$1/data/postmaster.pid ]]; then as_nobody "$programs/pg_ctl" -D "$work/$1/data" -m immediate -w stop >/dev/null; fi
}
