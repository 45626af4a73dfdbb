-- Give entries back as if they had never been delivered; any worker may claim them at once.
-- KEYS  i: stream of the lane of entry i
-- ARGV  1 group · 2 consumer · then for each entry two: its id, name that holds it from now on
-- Returns how many were the caller's to give
local given = 0
for i, stream in ipairs(KEYS) do
  local entry, name = ARGV[2 * i + 1], ARGV[2 * i + 2]
  local pending = redis.call('XPENDING', stream, ARGV[1], entry, entry, 1)
  if #pending > 0 and pending[1][2] == ARGV[2] then
    redis.call('XCLAIM', stream, ARGV[1], name, 0, entry,
      'IDLE', 86400000, 'RETRYCOUNT', math.max(pending[1][4] - 1, 0), 'JUSTID')
    given = given + 1
  end
end
return given
