-- What a Redis or Valkey database holds, as one line: keys, values and their ends, in any order; without the marker of a restore.
local sums = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if key ~= 'holdfast:restore' then sums[#sums + 1] = key .. redis.sha1hex(redis.call('DUMP', key)) .. redis.call('PEXPIRETIME', key) end
end
table.sort(sums)
return #sums .. ' keys, ' .. redis.sha1hex(table.concat(sums))
