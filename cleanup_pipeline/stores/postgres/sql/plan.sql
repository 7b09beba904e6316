-- name: identity
-- The columns that tell one row from every other: of the primary key, or of another unique index without nulls.
SELECT ARRAY(SELECT a.attname::text
             FROM unnest(i.indkey::int[]) WITH ORDINALITY k (attnum, at)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.at <= i.indnkeyatts ORDER BY k.at)
FROM pg_index i
WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int[]) AND NOT a.attnotnull)
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
LIMIT 1

-- name: sightings
SELECT {record_name},
       CASE WHEN {expired} THEN 'expired' WHEN {live} THEN 'live' WHEN {without_expiry} THEN 'without_expiry'
            ELSE 'unparsable' END,
       ({expiry})::text, {client}
FROM {table} AS record
WHERE {scope} AND {condition}
{order}

-- name: by_client
SELECT client, count, sum(count) OVER (), coalesce(sum(count) FILTER (WHERE client IS NULL) OVER (), 0)
FROM (SELECT {client} AS client, count(*) AS count FROM {table} AS record WHERE {expired} GROUP BY 1) counted
ORDER BY client IS NULL, count DESC, client
LIMIT %(most)s
