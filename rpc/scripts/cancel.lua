-- Answer a job that is not answered yet with `cancelled`. Its entry stays: a worker that reads or holds it drops
-- it, because deleting an entry ahead of the group's cursor would spoil the server's count of what waits.
-- KEYS  1 result key · 2 job key · 3.. streams of the lanes
-- ARGV  1 job id · 2 life of the reply in ms, longer if the entry may wait longer · 3 reply
-- Returns 'cancelled', 'finished' (a reply is there) or 'unknown' (no such job)
if redis.call('EXISTS', KEYS[1]) == 1 then return 'finished' end
local entry = redis.call('GET', KEYS[2])
if not entry then return 'unknown' end
local life = math.max(tonumber(ARGV[2]), redis.call('PTTL', KEYS[2]))
redis.call('SET', KEYS[1], ARGV[3], 'PX', life)
for i = 3, #KEYS do
  local found = redis.call('XRANGE', KEYS[i], entry, entry)
  if #found > 0 then
    local fields = found[1][2]
    for f = 1, #fields, 2 do
      if fields[f] == 'reply' and fields[f + 1] ~= '' then redis.pcall('PUBLISH', fields[f + 1], ARGV[1]) end
    end
  end
end
return 'cancelled'
