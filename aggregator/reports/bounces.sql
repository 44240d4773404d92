-- title: Bounces by mail
-- description: What bounces said of mail that was sent, by recipient domain and reason; after_acceptance was taken by the next host first.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar rcpt_domain bounces
SELECT
    rcpt_domain,
    provider,
    outcome,
    class,
    count() AS bounces,
    countIf(trace_id != '' AND trace_id IN (
        SELECT trace_id FROM deliveries
        WHERE outcome = 'delivered' AND ts >= {since:DateTime} - toIntervalDay(7) AND ts < {until:DateTime}
    )) AS after_acceptance,
    anyLast(response) AS last_response,
    max(ts) AS last_seen
FROM bounces FINAL
WHERE ts >= {since:DateTime} AND ts < {until:DateTime} AND outcome != 'delivered'
GROUP BY rcpt_domain, provider, outcome, class
ORDER BY bounces DESC, rcpt_domain, outcome, class
LIMIT {limit:UInt32}
