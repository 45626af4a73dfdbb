-- A worker says good-bye: its sign of life goes, and its consumer where nothing of it is pending. Deleting a
-- consumer that still holds entries would drop them from every list, so that nobody would ever get them.
-- KEYS  1 workers set · 2 the worker's hash · 3.. streams of the lanes
-- ARGV  1 group · 2 consumer
-- Returns how many consumers went
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
local gone = 0
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1
    and #redis.call('XPENDING', KEYS[i], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[i], ARGV[1], ARGV[2])
    gone = gone + 1
  end
end
return gone
