-- Give up on an entry, if the caller still owns it: keep it in the dead letter and answer with the error. A job that
-- has another entry by now is not answered: that one stands for it. A sink gets the reply that stands, or
-- this error where only the mark of an unkept success stands.
-- KEYS  1 stream of the lane · 2 result key · 3 job key · 4 dead letter · 5.. what else belongs to the job · last its
--       sink, if it has one
-- ARGV  1 group · 2 consumer · 3 entry · 4 job id or '' · 5 life of the reply in ms · 6 reply channel or ''
--       7 reply · 8 most entries the dead letter keeps · 9 number of fields for the sink · those fields, the last
--       of which becomes the reply · then fields for the dead letter
-- Returns 1, or 0 if the entry is gone or somebody else's
local function is_mark(reply)
  -- the mark of a success that nobody keeps has no result; it has a few numbers, so more than this is none
  if #reply > 4096 then return false end
  local read = reply:sub(1, 1) == '{' and cjson.decode or cmsgpack.unpack
  local ok, told = pcall(read, reply)
  return ok and type(told) == 'table' and told.ok == true and (told.result == nil or told.result == cjson.null)
end

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #pending == 0 or pending[1][2] ~= ARGV[2] then return 0 end
local fields = tonumber(ARGV[9])
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[3])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[8], '*', unpack(ARGV, 10 + fields))
local queued = redis.call('GET', KEYS[3])
if queued and queued ~= ARGV[3] then return 1 end
for i = 5, #KEYS - (fields > 0 and 1 or 0) do redis.call('DEL', KEYS[i]) end
if ARGV[4] ~= '' then
  local set = redis.call('SET', KEYS[2], ARGV[7], 'NX', 'PX', ARGV[5])
  redis.call('DEL', KEYS[3])
  if set and ARGV[6] ~= '' then redis.pcall('PUBLISH', ARGV[6], ARGV[4]) end
  if fields > 0 then
    local told, stands = {unpack(ARGV, 10, 9 + fields)}, redis.call('GET', KEYS[2])
    told[#told] = is_mark(stands) and ARGV[7] or stands
    redis.call('XADD', KEYS[#KEYS], '*', unpack(told))
  end
end
return 1
