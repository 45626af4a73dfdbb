-- Keep finished parts of a job beside it, so that another worker can go on where this one stops. A job that is
-- settled by now keeps nothing. The parts live as long as the job's other keys, and those as long as they can.
-- KEYS  1 what is kept of the job · 2 job key
-- ARGV  1 life in ms · 2.. names and contents of the parts
-- Returns 1, or 0 if there is no such job
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[1]), redis.call('PTTL', KEYS[2])))
return 1
