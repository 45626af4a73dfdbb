-- Settle jobs: take each out of its lane and store its reply, unless one is there already. Whoever finishes
-- first wins, owner or not; a second finisher changes nothing. XACK goes first because a script whose first
-- write frees memory runs on a server that is full.
-- The caller's channel is told the ids; a lone small reply travels with its id, which saves the caller a read.
-- KEYS  for job i: 3i-2 stream of the lane · 3i-1 result key · 3i job key
-- ARGV  1 group · 2 largest reply told along, in bytes · then for job i five: entry, job id, life of the reply
--       in ms, reply channel or '', reply
-- Returns for each job 1 if this call stored its reply, else 0
local stored, told, alone = {}, {}, {}
for i = 1, #KEYS / 3 do
  local stream, result, job = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local entry, id, keep, channel, reply = unpack(ARGV, 5 * i - 2, 5 * i + 2)
  redis.call('XACK', stream, ARGV[1], entry)
  redis.call('XDEL', stream, entry)
  local set = redis.call('SET', result, reply, 'NX', 'PX', keep)
  redis.call('DEL', job)
  stored[i] = set and 1 or 0
  if set and channel ~= '' then
    alone[channel] = not told[channel] and #reply <= tonumber(ARGV[2]) and (id .. '\n' .. reply) or nil
    told[channel] = told[channel] and (told[channel] .. ' ' .. id) or id
  end
end
for channel, ids in pairs(told) do redis.pcall('PUBLISH', channel, alone[channel] or ids) end
return stored
