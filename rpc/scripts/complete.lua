-- Settle jobs: take each out of its lane and store its reply, unless one is there already. Whoever finishes
-- first wins, owner or not; a second finisher changes nothing. An error is different: only who holds the entry may
-- fail its job, because another worker may be about to do it well. XACK goes first because a script whose first
-- write frees memory runs on a server that is full. What belongs to a job that has another entry by now stays with
-- that one, and so does its failing.
-- The caller's channel is told the id; a small reply travels with it after a newline, which saves the caller a read.
-- A sink gets the reply from who stores it, and from who takes the entry out the one that stands, whoever gave it; where
-- only the mark of a success stands that is kept nowhere, what this one has to say.
-- KEYS  for each job: stream of the lane · result key · job key · what else belongs to it: blobs, parts · its sink,
--       if it has one
-- ARGV  1 group · 2 largest reply told along, in bytes · then for each job: entry, job id, life of the reply in ms,
--       reply channel or '', reply, '' or of an error who has to hold the entry, number of keys that belong to it,
--       number of fields for the sink, those fields, of which the last is the reply for the sink, '' if it is the one
--       that is stored
-- Returns for each job 1 if this call stored its reply, else 0
local function is_mark(reply)
  -- the mark of a success that nobody keeps has no result; it has a few numbers, so more than this is none
  if #reply > 4096 then return false end
  local read = reply:sub(1, 1) == '{' and cjson.decode or cmsgpack.unpack
  local ok, told = pcall(read, reply)
  return ok and type(told) == 'table' and told.ok == true and (told.result == nil or told.result == cjson.null)
end

local function tell_sink(sink, set, gone, result, reply, first, last)
  local fields = {unpack(ARGV, first, last)}
  if fields[#fields] == '' then fields[#fields] = reply end
  if not set then
    if gone == 0 then return end
    local stands = redis.call('GET', result)
    if not is_mark(stands) then fields[#fields] = stands end
  end
  redis.call('XADD', sink, '*', unpack(fields))
end

local function is_held(stream, entry, owner)
  local pending = redis.call('XPENDING', stream, ARGV[1], entry, entry, 1)
  return #pending > 0 and pending[1][2] == owner
end

local stored = {}
local key, first = 1, 3
while first <= #ARGV do
  local stream, result, job = KEYS[key], KEYS[key + 1], KEYS[key + 2]
  local entry, id, keep, channel, reply, owner, belonging, fields = unpack(ARGV, first, first + 7)
  local sink = KEYS[key + 3 + belonging]
  local failed, set = owner ~= '', false
  fields = tonumber(fields)
  if not failed or is_held(stream, entry, owner) then
    redis.call('XACK', stream, ARGV[1], entry)
    local gone = redis.call('XDEL', stream, entry)
    local queued = redis.call('GET', job)
    local last = not queued or queued == entry
    if last then
      redis.call('DEL', job)
      for name = key + 3, key + 2 + belonging do redis.call('DEL', KEYS[name]) end
    end
    if last or not failed then
      set = redis.call('SET', result, reply, 'NX', 'PX', keep)
      if set and channel ~= '' then
        redis.pcall('PUBLISH', channel, #reply <= tonumber(ARGV[2]) and (id .. '\n' .. reply) or id)
      end
      if fields > 0 then tell_sink(sink, set, gone, result, reply, first + 8, first + 7 + fields) end
    end
  end
  stored[#stored + 1] = set and 1 or 0
  key = key + 3 + belonging + (fields > 0 and 1 or 0)
  first = first + 8 + fields
end
return stored
