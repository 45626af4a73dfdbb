-- Tell which jobs are lost: no reply, and no entry, because the server lost its data or an operator deleted it. What
-- is left of the id of a lost job goes, so that it can be submitted again. The lanes number their entries apart: an
-- entry is the job's only if it has its id.
-- KEYS  1 and 2 streams of the lanes · then for each job two: result key, job key
-- ARGV  none
-- Returns for each job 1 if it is lost, else 0
local function is_of(found, key)
  local fields = found[1] and found[1][2] or {}
  for f = 1, #fields, 2 do
    if fields[f] == 'id' then return key:sub(-#fields[f + 1] - 5) == ':job:' .. fields[f + 1] end
  end
  return #found > 0
end

local lost = {}
for i = 3, #KEYS, 2 do
  local gone = 0
  if redis.call('EXISTS', KEYS[i]) == 0 then
    gone = 1
    local entry = redis.call('GET', KEYS[i + 1])
    for lane = 1, 2 do
      if entry and is_of(redis.call('XRANGE', KEYS[lane], entry, entry), KEYS[i + 1]) then gone = 0 end
    end
    if gone == 1 and entry then redis.call('DEL', KEYS[i + 1]) end
  end
  lost[#lost + 1] = gone
end
return lost
