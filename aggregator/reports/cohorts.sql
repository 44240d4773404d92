-- title: What changed against the time before
-- description: Recipient domains and reasons whose failures differ most from the equally long time before.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar rcpt_domain change_percent
WITH {until:DateTime} - {since:DateTime} AS span
SELECT
    rcpt_domain,
    class,
    sumIf(d.attempts, hour >= {since:DateTime}) AS attempts_now,
    sumIf(d.attempts, hour < {since:DateTime}) AS attempts_before,
    sumIf(d.attempts, hour >= {since:DateTime} AND outcome != 'delivered') AS not_delivered_now,
    sumIf(d.attempts, hour < {since:DateTime} AND outcome != 'delivered') AS not_delivered_before,
    round(100 * (not_delivered_now - not_delivered_before) / greatest(not_delivered_before, 1), 1) AS change_percent
FROM deliveries_1h AS d
WHERE hour >= {since:DateTime} - toIntervalSecond(span) AND hour < {until:DateTime}
GROUP BY rcpt_domain, class
HAVING not_delivered_now != not_delivered_before
ORDER BY abs(toInt64(not_delivered_now) - toInt64(not_delivered_before)) DESC, rcpt_domain, class
LIMIT {limit:UInt32}
