-- Settle jobs: take each out of its lane and store its reply, unless one is there already. Whoever finishes
-- first wins, owner or not; a second finisher changes nothing. XACK goes first because a script whose first
-- write frees memory runs on a server that is full.
-- The caller's channel is told the id; a small reply travels with it after a newline, which saves the caller a read.
-- KEYS  for job i: 3i-2 stream of the lane · 3i-1 result key · 3i job key
-- ARGV  1 group · 2 largest reply told along, in bytes · then for job i five: entry, job id, life of the reply
--       in ms, reply channel or '', reply
-- Returns for each job 1 if this call stored its reply, else 0
local stored = {}
for i = 1, #KEYS / 3 do
  local stream, result, job = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local entry, id, keep, channel, reply = unpack(ARGV, 5 * i - 2, 5 * i + 2)
  redis.call('XACK', stream, ARGV[1], entry)
  redis.call('XDEL', stream, entry)
  local set = redis.call('SET', result, reply, 'NX', 'PX', keep)
  redis.call('DEL', job)
  stored[i] = set and 1 or 0
  if set and channel ~= '' then
    redis.pcall('PUBLISH', channel, #reply <= tonumber(ARGV[2]) and (id .. '\n' .. reply) or id)
  end
end
return stored
