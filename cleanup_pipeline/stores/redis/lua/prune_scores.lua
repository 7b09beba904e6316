-- Remove the members of one sorted set whose scores lie within bounds, the lowest first. KEYS: 1 the sorted set.
-- ARGV: 1 and 2 the bounds, as ZRANGEBYSCORE takes them, 3 most members.
-- Answers how many it removed.
if redis.replicate_commands then redis.replicate_commands() end
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return 0 end
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
if #gone == 0 then return 0 end
return redis.call('ZREM', KEYS[1], unpack(gone))
