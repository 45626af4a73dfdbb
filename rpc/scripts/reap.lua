-- Drop the consumers of workers that are gone: without a sign of life, without an entry, and silent for long. One
-- that still holds entries stays until others have taken them over; one that comes back is made again by its read.
-- KEYS  1 workers set · 2.. streams of the lanes
-- ARGV  1 group · 2 silent for at least so many ms · 3 most to drop of a lane
-- Returns how many went
local gone = 0
for i = 2, #KEYS do
  local left = tonumber(ARGV[3])
  local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[i], ARGV[1])
  for _, flat in ipairs(consumers) do
    local about = {}
    for f = 1, #flat, 2 do about[flat[f]] = flat[f + 1] end
    if left > 0 and about.pending == 0 and about.idle >= tonumber(ARGV[2])
      and not redis.call('ZSCORE', KEYS[1], about.name) then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], about.name)
      left, gone = left - 1, gone + 1
    end
  end
end
return gone
