-- Keep finished parts of a job beside it, so that another worker can go on where this one stops. A job that is
-- settled by now keeps nothing.
-- KEYS  1 what is kept of the job · 2 job key
-- ARGV  1 life in ms · 2.. names and contents of the parts
-- Returns 1, or 0 if there is no such job
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
