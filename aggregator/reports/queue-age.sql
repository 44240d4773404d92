-- title: Queue depth and age
-- description: The deepest and the oldest that each queue was, hour by hour.
-- param: since DateTime 1d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: line hour oldest_age_s
SELECT toStartOfHour(q.ts) AS hour, node, queue, rcpt_domain, max(q.messages) AS messages, max(q.bytes) AS bytes, max(q.oldest_age_s) AS oldest_age_s
FROM queue_samples AS q
WHERE q.ts >= {since:DateTime} AND q.ts < {until:DateTime}
GROUP BY hour, node, queue, rcpt_domain
ORDER BY hour DESC, oldest_age_s DESC
LIMIT {limit:UInt32}
