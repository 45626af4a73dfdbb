-- A worker has died: let others take over what it held at once, without waiting for its leases to lapse. What it
-- was working on stays counted as delivered, as it may be what killed it; what else was in its hands does not, and may
-- have begun.
-- KEYS  1 workers set · 2 the worker's hash · 3.. streams of the lanes
-- ARGV  1 group · 2 consumer · 3 name that holds released entries · 4 name that holds what the dead worked on
--       5 1 if nobody knows what it worked on: then all of it counts · 6.. what it worked on: lane's number, entry
-- Returns {released, left to be taken over as suspects}
local started, counts = {}, {0, 0}
for i = 6, #ARGV, 2 do started[ARGV[i] .. ' ' .. ARGV[i + 1]] = true end
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    local held = redis.pcall('XPENDING', KEYS[i], ARGV[1], '-', '+', 10000, ARGV[2])
    for _, pending in ipairs(held) do
      local entry, deliveries = pending[1], pending[4]
      local suspect = ARGV[5] == '1' or started[(i - 2) .. ' ' .. entry]
      local name = suspect and ARGV[4] or ARGV[3]
      deliveries = suspect and deliveries or math.max(deliveries - 1, 0)
      redis.call('XCLAIM', KEYS[i], ARGV[1], name, 0, entry, 'IDLE', 86400000, 'RETRYCOUNT', deliveries, 'JUSTID')
      counts[suspect and 2 or 1] = counts[suspect and 2 or 1] + 1
    end
    if not held.err and #held < 10000 then redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], ARGV[2]) end
  end
end
return counts
