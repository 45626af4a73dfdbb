-- Queue a job unless it is already queued, answered, or the lane or its sink is full. Sent twice it does nothing more.
-- A reply that says that trying again can help gives way to another try, but not to the same call said again.
-- The first job of a lane makes the workers' group, so that the server counts what waits before any worker lives.
-- Large inputs were written before under keys of this submit alone. A job that is queued takes them over under its own
-- keys; in every other case they are deleted, and what another submit of the same id wrote stays as it is.
-- KEYS  1 stream of the lane · 2 job key · 3 result key · 4 config hash · then its sink, if it has one · then for each
--       blob two: the key it was written under, the job's own key
-- ARGV  1 bound used if the config names none · 2 job key's life in ms · 3 number of sinks: 0 or 1
--       4 whether the call is said again, its answer not having been heard: 0 or 1 · 5.. fields of the entry
-- Returns {'done'} a reply is there that stays · {'joined', entry} the job is already queued
--         {'full', length, 'lane' or 'sink'} nothing queued · {'unwritten'} nothing queued, a blob is not there
--         {'queued', entry}
local sinks, again = tonumber(ARGV[3]), ARGV[4] == '1'
local first_blob = 5 + sinks
local function forget_blobs()
  for i = first_blob, #KEYS, 2 do redis.call('DEL', KEYS[i]) end
end
local function may_pass()
  -- no error is told in more words than this holds
  if redis.call('STRLEN', KEYS[3]) > 32768 then return false end
  local reply = redis.call('GET', KEYS[3])
  local read = reply:sub(1, 1) == '{' and cjson.decode or cmsgpack.unpack
  local ok, told = pcall(read, reply)
  return ok and type(told) == 'table' and type(told.error) == 'table' and told.error.retryable == true
end
local entry = redis.call('GET', KEYS[2])
local answered = redis.call('EXISTS', KEYS[3]) == 1
if answered and (entry or again or not may_pass()) then
  forget_blobs()
  return {'done'}
end
if entry then
  forget_blobs()
  return {'joined', entry}
end
for i = first_blob, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 0 then
    forget_blobs()
    return {'unwritten'}
  end
end
local bound = tonumber(redis.call('HGET', KEYS[4], 'max_jobs') or ARGV[1])
local is_empty = false
for i, where in ipairs({'lane', sinks > 0 and 'sink' or nil}) do
  local length = redis.call('XLEN', KEYS[i == 1 and 1 or 5])
  is_empty = is_empty or (i == 1 and length == 0)
  if length >= bound then
    forget_blobs()
    return {'full', length, where}
  end
end
if is_empty and redis.call('EXISTS', KEYS[1]) == 0 then
  -- a caller may lack the permission; the first worker makes the group then
  redis.pcall('XGROUP', 'CREATE', KEYS[1], 'workers', '0', 'MKSTREAM')
end
entry = redis.pcall('XADD', KEYS[1], '*', unpack(ARGV, 5))
if type(entry) == 'table' and entry.err then
  -- the server is full
  forget_blobs()
  return entry
end
redis.call('SET', KEYS[2], entry, 'PX', ARGV[2])
for i = first_blob, #KEYS, 2 do
  redis.call('RENAME', KEYS[i], KEYS[i + 1])
  redis.call('PEXPIRE', KEYS[i + 1], ARGV[2])
end
if answered then redis.call('DEL', KEYS[3]) end
return {'queued', entry}
