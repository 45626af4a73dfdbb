-- Set how often an entry counts as delivered, if the caller holds it: one more before a suspect is worked on, alone, and
-- as many as before once that has ended well. So whoever finds the entry of a lost worker knows what is held against it.
-- KEYS  1 stream of the lane
-- ARGV  1 group · 2 consumer · 3 entry · 4 count
-- Returns 1, or 0 if the entry is gone or somebody else's
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #pending == 0 or pending[1][2] ~= ARGV[2] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', ARGV[4], 'JUSTID')
return 1
