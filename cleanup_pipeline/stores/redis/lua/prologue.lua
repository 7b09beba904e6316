-- Every script is: this prologue, the helpers of its rule, the rule's `judge`, and loop.lua. Its candidates are KEYS, or
-- what a SCAN of its own names. Everything about them is read here, where nothing can come in between.
--
-- ARGV: 1 mode (look | delete | tell: delete and say what | keep: say what, and delete nothing), 2 cutoff (epoch ms),
--       3 key type, 4 grace (ms; empty: no TTL is given back), 5 most keys to remove,
--       6 milliseconds after which to stop, 7 trust the TTL (1 | 0), 8 cursor of SCAN (empty: KEYS are given),
--       9 pattern, 10 COUNT of SCAN, 11 most keys to judge, 12 lower end of the window (epoch ms; empty: open),
--       13 what the keys of planted records have in them (empty: there are none), 14 field, or dotted path in JSON, that
--       says whose a key is (empty: nobody asks), 15... the rule's own.
--
-- judge(key) answers state, death (epoch ms), detail. States: at (it dies at `death`), far (later than any date),
-- never (nothing there, or zero), unknown (not readable), unread (not readable in here), dead (without an instant of
-- its own), foreign (not of this target).

-- Redis 6.2 with lua-replicate-commands off forbids a write after TIME; later servers always answer true.
if redis.replicate_commands then redis.replicate_commands() end

local mode, cutoff, key_type = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local grace, limit, budget = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]) / 1000
local ttl_wins = ARGV[7] == '1'
local walk, pattern, count, most = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])
local since = tonumber(ARGV[12])
local mark, owner = ARGV[13], ARGV[14]
local option = { unpack(ARGV, 15) }

-- No value is read before its length is known: a script that loads 500 MB keeps the server from every login, and holds
-- as much memory again. A longer one is left, and counted as too large.
local LONGEST = 1048576        -- bytes of a document
local MOST_FIELDS = 1000       -- of a hash that is read whole, to be kept
local SHORT = 4096             -- bytes of a number or of the name of a key
local MOST_READ = 4194304      -- bytes after which a script stops and leaves the rest to the next one
local taken = 0

local function read(key, longest)
  local length = redis.call('STRLEN', key)
  if length > longest then return nil, 'too_large' end
  taken = taken + length
  return redis.call('GET', key)
end

-- A call takes longer than what it does: where most keys go, the owner of each is read along with its expiry.
local along, whose = false, nil

local function read_field(key, field, longest)
  local length = redis.call('HSTRLEN', key, field)
  if length > longest then return nil, 'too_large' end
  taken = taken + length
  if along then
    along, length = false, redis.call('HSTRLEN', key, owner)
    if length <= SHORT then
      taken = taken + length
      local both = redis.call('HMGET', key, field, owner)
      whose = both[2] or ''
      return both[1]
    end
    whose = ''
  end
  return redis.call('HGET', key, field)
end

local FIRST = 1000000000000    -- 2001-09-09: an earlier positive number is a lifetime or another unit, not an epoch
local LATE = 4102444800000     -- 2100-01-01: where everything lies later, milliseconds were taken for seconds
local LAST = 253402300800000   -- the year 10000

local function at(ms)
  if ms <= 0 then return 'never' end
  if ms < FIRST then return 'unknown', nil, 'implausible' end
  if ms >= LAST then return 'far', nil, 'after_2100' end
  if ms >= LATE then return 'at', ms, 'after_2100' end
  return 'at', ms
end
