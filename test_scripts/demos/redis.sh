#!/usr/bin/env bash
# Redis or Valkey, with the server of this machine, appendonly as in production. Takes half a minute.
# shellcheck disable=SC2034,SC2154 # demo reads what is set here, and sets work

what="a Redis server" where="a new, empty Redis server"

require_all() {
  if ! server=$(command -v redis-server || command -v valkey-server); then
    echo "demo: no redis-server and no valkey-server on PATH: install Debian's package redis-server, then run this again" >&2
    exit 2
  fi
  client=${server%-server}-cli
}

start_server() { # before|after
  local folder=$work/$1
  mkdir -p "$folder"
  printf 'of-the-demo' >"$folder/password"
  # asked for, and taken at once: nobody else is given it meanwhile
  node -p 'const s = require("net").createServer().listen(0, "127.0.0.1"); s.on("listening", () => { console.log(s.address().port); s.close() }); ""' |
    head -n 1 >"$folder/port"
  "$server" - >"$folder/log" <<CONF
port $(<"$folder/port")
bind 127.0.0.1
dir $folder
appendonly yes
requirepass of-the-demo
pidfile $folder/pid
daemonize yes
CONF
  until ask "$1" PING >/dev/null 2>&1; do sleep 0.1; done
}

fill_before() {
  tell "Filling it: 150000 keys: strings with an end, hashes, lists, sorted sets, a stream."
  ask before EVAL "
    for i = 1, 50000 do
      redis.call('SET', 'session:' .. i, 'token ' .. i, 'EX', 1000000 + i)
      redis.call('HSET', 'customer:' .. i, 'name', 'Zoë ' .. i, 'orders', i % 9)
      redis.call('RPUSH', 'cart:' .. i, i, i + 1)
      redis.call('ZADD', 'scores', i % 1000, 'customer:' .. i)
    end
    for i = 1, 1000 do redis.call('XADD', 'events', i .. '-1', 'order', i) end" 0 >/dev/null
  contents before >"$work/before.txt"
  write_secret server username=default password=of-the-demo
}

how_it_is_backed_up="Holdfast asks for a snapshot as a replica would, reads every key while it passes, and writes the manifest last."

contents() { # before|after
  ask "$1" EVAL "$(<test_scripts/redis-contents.lua)" 0
}

compare_after() {
  contents after >"$work/after.txt"
  cmp "$work/before.txt" "$work/after.txt"
  tell "$(<"$work/after.txt"): each has the value and the end that it had."
}

server_values() { # before|after
  echo "name: cache"
  echo "redis: { host: 127.0.0.1, port: $(<"$work/$1/port"), tls: { mode: disabled }, credentials: { secret: server } }"
}

ask() { # before|after COMMAND...
  REDISCLI_AUTH=of-the-demo "$client" -h 127.0.0.1 -p "$(<"$work/$1/port")" "${@:2}"
}

end_server() { # before|after
  end_process "$work/$1/pid"
}
