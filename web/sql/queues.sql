-- The newest sample of every queue of every host, of the last hour.
SELECT
    node,
    queue,
    argMax(messages, ts) AS depth,
    argMax(oldest_age_s, ts) AS oldest_s,
    toUnixTimestamp64Micro(max(ts)) AS sampled_us
FROM queue_samples
WHERE rcpt_domain = '' AND ts >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
GROUP BY node, queue
ORDER BY node, queue
LIMIT 50
