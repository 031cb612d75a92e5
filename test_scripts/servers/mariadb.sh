#!/usr/bin/env bash
# MariaDB, with the server of Debian's packages: on a socket, so that nothing listens on a port.
# shellcheck disable=SC2154 # who sources this sets work

require_all() {
  if command -v mariadbd >/dev/null && command -v mariadb-dump >/dev/null; then return; fi
  test_scripts/install mariadb
}

start_server() { # NAME [OPTION...]
  local folder=$work/$1 as_root=()
  if [[ $(id -u) == 0 ]]; then as_root=(--user=root); fi
  mkdir -p "$folder/data"
  mariadb-install-db --no-defaults --datadir="$folder/data" --auth-root-authentication-method=normal --skip-test-db \
    "${as_root[@]}" >"$folder/log" 2>&1
  mariadbd --no-defaults --datadir="$folder/data" --socket="$folder/socket" --pid-file="$folder/pid" --skip-networking \
    --log-bin="$folder/data/binlog" --innodb-buffer-pool-size=128M "${as_root[@]}" "${@:2}" >>"$folder/log" 2>&1 &
  until root "$1" <<<"SELECT 1" >/dev/null 2>&1; do
    kill -0 $! || return 1
    sleep 0.1
  done
  disown
  root "$1" <<<"CREATE USER holdfast@localhost IDENTIFIED BY 'of-this-server'; GRANT ALL ON *.* TO holdfast@localhost WITH GRANT OPTION"
  write_secret server username=holdfast password=of-this-server
}

server_values() { # NAME
  echo "name: shop"
  echo "mysql: { socket: $work/$1/socket, credentials: { secret: server } }"
}

root() { # NAME [OPTION...]
  mariadb --no-defaults --socket="$work/$1/socket" --user=root --default-character-set=utf8mb4 --batch --skip-column-names "${@:2}"
}

end_server() { # NAME
  end_process "$work/$1/pid"
}
