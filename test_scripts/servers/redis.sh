#!/usr/bin/env bash
# Redis or Valkey, with the server of this machine, appendonly as in production.
# shellcheck disable=SC2154 # who sources this sets work

require_all() {
  if server=$(command -v redis-server || command -v valkey-server); then
    client=${server%-server}-cli
    return
  fi
  echo "no redis-server and no valkey-server on PATH: install Debian's package redis-server, then run this again" >&2
  return 2
}

start_server() { # NAME [SETTING...]
  local folder=$work/$1
  mkdir -p "$folder"
  free_port >"$folder/port"
  run_server "$@"
  write_secret server username=default password=of-this-server
}

run_server() { # NAME [SETTING...]
  local folder=$work/$1
  "$server" - >>"$folder/log" <<CONF
port $(<"$folder/port")
bind 127.0.0.1
dir $folder
appendonly yes
requirepass of-this-server
pidfile $folder/pid
daemonize yes
$(printf '%s\n' "${@:2}")
CONF
  until [[ $(ask "$1" PING 2>/dev/null) == PONG ]]; do sleep 0.1; done
}

server_values() { # NAME
  echo "name: cache"
  echo "redis: { host: 127.0.0.1, port: $(<"$work/$1/port"), tls: { mode: disabled }, credentials: { secret: server } }"
}

ask() { # NAME COMMAND...
  REDISCLI_AUTH=of-this-server "$client" -h 127.0.0.1 -p "$(<"$work/$1/port")" "${@:2}"
}

end_server() { # NAME
  end_process "$work/$1/pid"
}
