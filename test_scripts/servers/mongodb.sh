#!/usr/bin/env bash
# MongoDB: mongod and the database tools of PATH, else the stand-in and the tools of ../shared/kit.
# shellcheck disable=SC2154 # who sources this sets work and kit

require_all() {
  if command -v mongodump >/dev/null; then
    tools=$(dirname "$(command -v mongodump)")
  elif [[ -x $kit ]]; then
    tools=$("$kit" path mongo-tools)
  fi
  if [[ ${tools:-} ]] && { command -v mongod >/dev/null || [[ -x $kit ]]; }; then return; fi
  echo "no mongod and no mongodump on PATH: install MongoDB and its database tools, then run this again" >&2
  return 2
}

start_server() { # NAME
  local folder=$work/$1 port
  mkdir -p "$folder/data"
  if command -v mongod >/dev/null; then
    port=$(free_port)
    mongod --dbpath "$folder/data" --bind_ip 127.0.0.1 --port "$port" --fork --logpath "$folder/log" --pidfilepath "$folder/mongo.pid" >/dev/null
    echo "mongodb://127.0.0.1:$port/" >"$folder/uri"
  else
    "$kit" mongo start "$folder" --port 0 >"$folder/uri"
    write_secret server username=test password=testtesttest
  fi
}

server_values() { # NAME
  local uri login=''
  uri=$(<"$work/$1/uri")
  if [[ $uri == *@* ]]; then login="credentials: { secret: server }, "; fi
  uri=${uri%/}
  echo "name: shop"
  echo "mongodb: { hosts: [\"${uri##*[@/]}\"], ${login}tls: { mode: disabled }, clients: $tools }"
}

end_server() { # NAME
  if command -v mongod >/dev/null; then
    end_process "$work/$1/mongo.pid"
  else
    "$kit" mongo stop "$work/$1"
  fi
}
