-- Queue a job unless it is already queued, answered, or the lane is full. Sent twice it does nothing more.
-- KEYS  1 stream of the lane · 2 job key · 3 result key · 4 config hash · 5.. the job's blobs, written before
-- ARGV  1 bound used if the config names none · 2 job key's life in ms · 3.. fields of the entry
-- Returns {'done'} a reply is there · {'joined', entry} the job is already queued
--         {'full', length} nothing queued · {'queued', entry}
local function forget_blobs()
  for i = 5, #KEYS do redis.call('DEL', KEYS[i]) end
end
local entry = redis.call('GET', KEYS[2])
if redis.call('EXISTS', KEYS[3]) == 1 then
  -- a job that is answered and still queued has its blobs until its entry goes
  if not entry then forget_blobs() end
  return {'done'}
end
if entry then return {'joined', entry} end
local bound = tonumber(redis.call('HGET', KEYS[4], 'max_jobs') or ARGV[1])
local length = redis.call('XLEN', KEYS[1])
if length >= bound then
  forget_blobs()
  return {'full', length}
end
entry = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[2], entry, 'PX', ARGV[2])
return {'queued', entry}
