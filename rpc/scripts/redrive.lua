-- Queue a dead job again, with a fresh count of deliveries, and drop its error reply and its dead entry.
-- KEYS  1 dead letter · 2 stream of the lane · 3 result key · 4 job key
-- ARGV  1 dead entry · 2 life of the job key in ms · 3.. fields of the new entry
-- Returns the new entry, or false if the dead entry is gone
if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then return false end
redis.call('DEL', KEYS[3])
local entry = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[4], entry, 'PX', ARGV[2])
return entry
