-- Put an entry off, if the caller still owns it by the delivery it means: it is taken over like one whose worker died,
-- after a delay, one delivery more counted. Said again after the caller has got it back, it changes nothing.
-- KEYS  1 stream of the lane
-- ARGV  1 group · 2 consumer · 3 name that holds entries put off · 4 entry · 5 how idle it is to count, in ms
--       6 count of the delivery that is meant
-- Returns 1, or 0 if the entry is gone, somebody else's, or the caller's anew
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], ARGV[4], 1)
if #pending == 0 or pending[1][2] ~= ARGV[2] or pending[1][4] ~= tonumber(ARGV[6]) then return 0 end
local count = math.max(pending[1][4], 1) + 1
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[4], 'IDLE', ARGV[5], 'RETRYCOUNT', count, 'JUSTID')
return 1
