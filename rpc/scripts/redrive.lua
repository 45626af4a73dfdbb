-- Queue a dead job again, with a fresh count of deliveries, and drop its error reply and its dead entry. A job whose id
-- has been queued again meanwhile is not queued twice: only the dead entry goes.
-- KEYS  1 dead letter · 2 stream of the lane · 3 result key · 4 job key · 5.. streams of the lanes
-- ARGV  1 dead entry · 2 life of the job key in ms · 3 job id · 4.. fields of the new entry
-- Returns the entry that stands for the job, or false if the dead entry is gone
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return false end
local queued = redis.call('GET', KEYS[4])
for i = 5, #KEYS do
  local found = queued and redis.call('XRANGE', KEYS[i], queued, queued) or {}
  local fields = found[1] and found[1][2] or {}
  for f = 1, #fields, 2 do
    if fields[f] == 'id' and fields[f + 1] == ARGV[3] then return queued end
  end
end
redis.call('DEL', KEYS[3])
local entry = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
redis.call('SET', KEYS[4], entry, 'PX', ARGV[2])
return entry
