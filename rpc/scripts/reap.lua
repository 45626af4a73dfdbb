-- Drop the consumers of workers that are gone: without a sign of life, without an entry, and silent for long. One
-- that still holds entries stays until others have taken them over; one that comes back is made again by its read.
-- After the clock of the server has stepped back, entries were delivered in the future and are never idle, and workers
-- that are gone count as alive. Both begin anew now: their leases lapse a lease later, however far the clock stepped.
-- KEYS  1 workers set · 2.. streams of the lanes
-- ARGV  1 group · 2 silent for at least so many ms · 3 most to drop of a lane · 4 longest a worker may
--       count as alive in ms; 0 of a sink
-- Returns how many went
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
-- this goes first, because a server that is full lets a script run whose first write frees memory
if ARGV[4] ~= '0' then redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - 60000) end

local function begin_anew(stream)
  local from, rounds = '-', 0
  while from and rounds < 20 do
    local held = redis.pcall('XPENDING', stream, ARGV[1], from, '+', 500)
    for _, pending in ipairs(held) do
      if pending[3] == 0 then redis.call('XCLAIM', stream, ARGV[1], pending[2], 0, pending[1], 'JUSTID') end
    end
    from = #held == 500 and '(' .. held[500][1] or nil
    rounds = rounds + 1
  end
end

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
  begin_anew(KEYS[i])
end
if ARGV[4] ~= '0' then
  local latest = ms + ARGV[4]
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. latest, '+inf')) do
    redis.call('ZADD', KEYS[1], latest, name)
  end
end
return gone
