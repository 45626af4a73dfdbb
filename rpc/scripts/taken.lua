-- A completion is done with: it goes out of its sink and of its reader's hands.
-- KEYS  1 stream of the sink
-- ARGV  1 group · 2 entry
-- Returns 1, or 0 if it was gone
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return redis.call('XDEL', KEYS[1], ARGV[2])
