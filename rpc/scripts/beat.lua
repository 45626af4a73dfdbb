-- Renew the leases of the entries a worker holds, and its own sign of life. An entry another worker owns by now
-- is left alone. No delivery is counted.
-- KEYS  1 workers set · for each entry: stream of its lane · result key · job key · its blobs
-- ARGV  1 group · 2 consumer · 3 ms until the sign of life lapses · 4 life of a job key and of blobs in ms
--       then for each entry two: its id, number of its blobs
-- Returns {server time in ms, state of each entry: 1 held, 0 lost, 2 answered already (cancelled)}
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[1], ms + ARGV[3], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - 60000)
local answer = {ms}
local key = 2
for i = 5, #ARGV, 2 do
  local entry, blobs = ARGV[i], tonumber(ARGV[i + 1])
  local pending = redis.call('XPENDING', KEYS[key], ARGV[1], entry, entry, 1)
  if #pending == 0 or pending[1][2] ~= ARGV[2] then
    answer[#answer + 1] = 0
  else
    redis.call('XCLAIM', KEYS[key], ARGV[1], ARGV[2], 0, entry, 'JUSTID')
    for name = key + 2, key + 2 + blobs do redis.call('PEXPIRE', KEYS[name], ARGV[4], 'GT') end
    answer[#answer + 1] = redis.call('EXISTS', KEYS[key + 1]) == 1 and 2 or 1
  end
  key = key + 3 + blobs
end
return answer
