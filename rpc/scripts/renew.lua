-- Renew every lease a worker holds, and its sign of life. Whoever calls it need not know the jobs: what a worker
-- holds is what the server handed to it. No delivery is counted.
-- KEYS  1 workers set · 2.. streams of the lanes
-- ARGV  1 group · 2 consumer · 3 ms until the sign of life lapses
-- Returns {server time in ms, leases renewed}
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local renewed = 0
-- this goes first, because a server that is full lets a script run whose first write frees memory
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - 60000)
redis.call('ZADD', KEYS[1], ms + ARGV[3], ARGV[2])
for i = 2, #KEYS do
  local from = '-'
  while from do
    -- a stream or group that is gone has no leases; the reader makes it again
    local held = redis.pcall('XPENDING', KEYS[i], ARGV[1], from, '+', 500, ARGV[2])
    local entries = {}
    for n, pending in ipairs(held) do entries[n] = pending[1] end
    if #entries > 0 then
      local last = entries[#entries]
      renewed = renewed + #entries
      from = #entries == 500 and '(' .. last or nil
      entries[#entries + 1] = 'JUSTID'
      redis.call('XCLAIM', KEYS[i], ARGV[1], ARGV[2], 0, unpack(entries))
    else
      from = nil
    end
  end
end
return {ms, renewed}
