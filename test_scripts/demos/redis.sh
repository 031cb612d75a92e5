#!/usr/bin/env bash
# Redis or Valkey. Takes half a minute.
# shellcheck disable=SC2034,SC2154 # demo reads what is set here, and sets work

what="a Redis server" where="a new, empty Redis server"
# shellcheck source=/dev/null
source test_scripts/servers/redis.sh

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
