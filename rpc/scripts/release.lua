-- Give entries back as if they had never been delivered; any worker may claim them at once.
-- KEYS  i: stream of the lane of entry i
-- ARGV  1 group · 2 consumer · 3 name that holds released entries · 4.. entries
-- Returns how many were the caller's to give
local given = 0
for i = 4, #ARGV do
  local stream = KEYS[i - 3]
  local pending = redis.call('XPENDING', stream, ARGV[1], ARGV[i], ARGV[i], 1)
  if #pending > 0 and pending[1][2] == ARGV[2] then
    redis.call('XCLAIM', stream, ARGV[1], ARGV[3], 0, ARGV[i],
      'IDLE', 86400000, 'RETRYCOUNT', math.max(pending[1][4] - 1, 0), 'JUSTID')
    given = given + 1
  end
end
return given
