-- Put what is left of a value in place of it. Nothing happens to a key whose value is another one by now, nor while any
-- of the other keys is there. KEYS: 1 the string, 2... the other keys.
-- ARGV: 1 the value that was read, 2 what is left of it (empty: the key goes).
-- Answers 1 when it did, 0 when not. The TTL stays as it is.
if redis.replicate_commands then redis.replicate_commands() end
if redis.call('TYPE', KEYS[1]).ok ~= 'string' or redis.call('STRLEN', KEYS[1]) ~= #ARGV[1] then return 0 end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end
end
if ARGV[2] == '' then return redis.call('UNLINK', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
