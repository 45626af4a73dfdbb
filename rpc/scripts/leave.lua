-- A worker, or who takes completions, says good-bye: its sign of life goes, and its consumer where nothing of it is
-- pending. Deleting a consumer that still holds entries would drop them from every list, so that nobody would ever get
-- them.
-- KEYS  1 workers set · 2 the worker's hash · 3.. streams of the lanes, or of a sink
-- ARGV  1 group · 2 consumer
-- Returns how many consumers went
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
local gone = 0
for i = 3, #KEYS do
  -- a stream that is gone, or was made again, has no group
  local held = redis.pcall('XPENDING', KEYS[i], ARGV[1], '-', '+', 1, ARGV[2])
  if not held.err and #held == 0 and redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], ARGV[2])
    gone = gone + 1
  end
end
return gone
