-- Give entries back; any worker may claim them at once. An entry counts as if it had never been delivered; a suspect as
-- often as before, and stays one.
-- KEYS  i: stream of the lane of entry i
-- ARGV  1 group · 2 consumer · then for each entry three: its id, name that holds it from now on, count of a suspect or ''
-- Returns how many were the caller's to give
local given = 0
for i, stream in ipairs(KEYS) do
  local entry, name, count = ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2]
  local pending = redis.call('XPENDING', stream, ARGV[1], entry, entry, 1)
  if #pending > 0 and pending[1][2] == ARGV[2] then
    if count == '' then count = math.max(pending[1][4] - 1, 0) end
    redis.call('XCLAIM', stream, ARGV[1], name, 0, entry, 'IDLE', 86400000, 'RETRYCOUNT', count, 'JUSTID')
    given = given + 1
  end
end
return given
