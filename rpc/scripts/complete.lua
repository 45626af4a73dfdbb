-- Settle jobs: take each out of its lane and store its reply, unless one is there already. Whoever finishes
-- first wins, owner or not; a second finisher changes nothing. XACK goes first because a script whose first
-- write frees memory runs on a server that is full. What belongs to a job that has another entry by now stays with
-- that one.
-- The caller's channel is told the id; a small reply travels with it after a newline, which saves the caller a read.
-- A sink gets the reply that stands, whoever gave it, from the one who takes the entry out.
-- KEYS  for each job: stream of the lane · result key · job key · what else belongs to it: blobs, parts · its sink,
--       if it has one
-- ARGV  1 group · 2 largest reply told along, in bytes · then for each job: entry, job id, life of the reply in ms,
--       reply channel or '', reply, number of keys that belong to it, number of fields for the sink, those fields, of
--       which the last is the reply for the sink, '' if it is the one that is stored
-- Returns for each job 1 if this call stored its reply, else 0
local function tell_sink(sink, stored, result, first, last)
  local fields = {unpack(ARGV, first, last)}
  if not stored or fields[#fields] == '' then fields[#fields] = redis.call('GET', result) or '' end
  redis.call('XADD', sink, '*', unpack(fields))
end

local stored = {}
local key, first = 1, 3
while first <= #ARGV do
  local stream, result, job = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local entry, id, keep, channel, reply, blobs, fields = unpack(ARGV, first, first + 6)
  redis.call('XACK', stream, ARGV[1], entry)
  local gone = redis.call('XDEL', stream, entry)
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
  fields = tonumber(fields)
  if fields > 0 then
    if gone == 1 then tell_sink(KEYS[key], set, result, first + 7, first + 6 + fields) end
    key = key + 1
  end
  first = first + 7 + fields
end
return stored
