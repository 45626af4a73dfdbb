-- A worker has died: let others take over what it held at once, without waiting for its leases to lapse. What may have
-- killed it becomes a suspect, which runs alone from now on. A delivery is counted against an entry only where it was
-- the only one at work; of a suspect that was counted before it began. All else is free, uncounted, and may have begun.
-- KEYS  1 workers set · 2 the worker's hash · 3.. streams of the lanes
-- ARGV  1 group · 2 consumer · 3 name that holds released entries · 4 name that holds suspects that were not at work
--       5 name that holds what the dead worked on · 6 1 if nobody knows what it worked on: then all of it is suspected
--       7 1 if the only entry it worked on is to be counted · 8.. what it worked on: lane's number, entry
-- Returns {released, left to be taken over as suspects}
local at_work, counts = {}, {0, 0}
for i = 8, #ARGV, 2 do at_work[ARGV[i] .. ' ' .. ARGV[i + 1]] = true end
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    local held = redis.pcall('XPENDING', KEYS[i], ARGV[1], '-', '+', 10000, ARGV[2])
    for _, pending in ipairs(held) do
      local entry, count = pending[1], pending[4]
      local worked_on = ARGV[6] == '1' or at_work[(i - 2) .. ' ' .. entry]
      local name, kind = ARGV[3], 1
      if worked_on then
        name, kind = ARGV[5], 2
        if count == 1 and ARGV[7] == '1' then count = 2 end
      elseif count ~= 1 then
        name, kind = ARGV[4], 2
      else
        count = 0
      end
      redis.call('XCLAIM', KEYS[i], ARGV[1], name, 0, entry, 'IDLE', 86400000, 'RETRYCOUNT', count, 'JUSTID')
      counts[kind] = counts[kind] + 1
    end
    if not held.err and #held < 10000 then redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], ARGV[2]) end
  end
end
return counts
