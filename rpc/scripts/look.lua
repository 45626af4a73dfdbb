-- Look after the jobs a worker has in hand: does it still own them, is one answered already, and may what belongs
-- to them live on? Leases are `renew`'s.
-- KEYS  for each entry: stream of its lane · result key · job key · what else belongs to the job
-- ARGV  1 group · 2 consumer · then for each entry three: its id, number of keys that belong to it, life of its job key
--       and of what belongs to the job in ms
-- Returns {server time in ms, state of each entry: 1 held, 0 lost, 2 answered already (cancelled)}
local now = redis.call('TIME')
local answer = {now[1] * 1000 + math.floor(now[2] / 1000)}
local key = 1
for i = 3, #ARGV, 3 do
  local entry, more, life = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local pending = redis.call('XPENDING', KEYS[key], ARGV[1], entry, entry, 1)
  if #pending == 0 or pending[1][2] ~= ARGV[2] then
    answer[#answer + 1] = 0
  else
    for name = key + 2, key + 2 + more do redis.call('PEXPIRE', KEYS[name], life, 'GT') end
    answer[#answer + 1] = redis.call('EXISTS', KEYS[key + 1]) == 1 and 2 or 1
  end
  key = key + 3 + more
end
return answer
