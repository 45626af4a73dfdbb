-- Settle jobs: take each out of its lane and store its reply, unless one is there already. Whoever finishes
-- first wins, owner or not; a second finisher changes nothing. XACK goes first because a script whose first
-- write frees memory runs on a server that is full. What belongs to a job that has another entry by now stays with
-- that one.
-- The caller's channel is told the id; a small reply travels with it after a newline, which saves the caller a read.
-- KEYS  for each job: stream of the lane · result key · job key · what else belongs to it: blobs, parts
-- ARGV  1 group · 2 largest reply told along, in bytes · then for each job six: entry, job id, life of the reply
--       in ms, reply channel or '', reply, number of keys that belong to it
-- Returns for each job 1 if this call stored its reply, else 0
local stored = {}
local key = 1
for first = 3, #ARGV, 6 do
  local stream, result, job = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local entry, id, keep, channel, reply, blobs = unpack(ARGV, first, first + 5)
  redis.call('XACK', stream, ARGV[1], entry)
  redis.call('XDEL', stream, entry)
  local queued = redis.call('GET', job)
  if not queued or queued == entry then
    redis.call('DEL', job)
    for blob = key + 3, key + 2 + blobs do redis.call('DEL', KEYS[blob]) end
  end
  key = key + 3 + blobs
  local set = redis.call('SET', result, reply, 'NX', 'PX', keep)
  stored[#stored + 1] = set and 1 or 0
  if set and channel ~= '' then
    redis.pcall('PUBLISH', channel, #reply <= tonumber(ARGV[2]) and (id .. '\n' .. reply) or id)
  end
end
return stored
