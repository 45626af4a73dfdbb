-- Take over entries nobody works on: those a draining worker gave back, and at most one suspect, which is an
-- entry whose lease lapsed, or was let go, while another worker held it, and which may therefore have killed that worker.
-- A suspect counts as often as before until it is worked on: see `count`. One that was delivered once counts as 0 from
-- now on: nothing is known against it.
-- KEYS  1 stream of the lane · 2 config hash
-- ARGV  1 group · 2 consumer · 3 and 4 names that hold released entries · 5 most released entries to take
--       6 1 if a suspect may be taken · 7 lease in ms, 8 most deliveries, used if the config names none
-- Returns {taken, dead, more}: lists of {entry, count, fields, who had it}, the dead counted beyond the most
--         deliveries and owned by the caller for the verdict; more is 1 if another suspect waits. The server counts
--         one delivery more than the most of a dead entry: should this answer be lost, whoever finds the entry knows
local lease = tonumber(redis.call('HGET', KEYS[2], 'lease_ms') or ARGV[7])
local most = tonumber(redis.call('HGET', KEYS[2], 'max_deliveries') or ARGV[8])
local taken, dead, more = {}, {}, 0

local function own(entry, deliveries)
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry, 'RETRYCOUNT', deliveries, 'JUSTID')
end

local function fields(entry)
  local found = redis.call('XRANGE', KEYS[1], entry, entry)
  if #found == 0 then
    redis.call('XACK', KEYS[1], ARGV[1], entry)
    return nil
  end
  return found[1][2]
end

local function give_up(entry, deliveries, found, owner)
  own(entry, math.max(deliveries, most + 1))
  dead[#dead + 1] = {entry, math.min(deliveries, most), found, owner}
end

local room = tonumber(ARGV[5])
for name = 3, 4 do
  local released = room > 0 and redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', room, ARGV[name]) or {}
  for _, pending in ipairs(released) do
    local entry, deliveries = pending[1], pending[4]
    local found = fields(entry)
    if found and deliveries >= most then
      give_up(entry, deliveries, found, ARGV[name])
    elseif found then
      own(entry, deliveries + 1)
      taken[#taken + 1] = {entry, deliveries + 1, found, ARGV[name]}
    end
  end
  room = room - #released
end

local free = ARGV[6] == '1'
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', lease, '-', '+', 32)) do
  local entry, owner, deliveries = pending[1], pending[2], pending[4]
  if owner ~= ARGV[2] and owner ~= ARGV[3] and owner ~= ARGV[4] then
    local found = fields(entry)
    if found and deliveries > most then
      give_up(entry, deliveries, found, owner)
    elseif found and free then
      local count = deliveries == 1 and 0 or deliveries
      own(entry, count)
      taken[#taken + 1] = {entry, count, found, owner}
      free = false
    elseif found then
      more = 1
    end
  end
end
return {taken, dead, more}
