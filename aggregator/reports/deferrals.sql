-- title: Deferral reasons and how long they last
-- description: Why deliveries were deferred, and how long the messages concerned waited in the end.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar class recipients
SELECT
    class,
    provider,
    sum(per_recipient.attempts) AS attempts,
    count() AS recipients,
    countIf(settled = 'delivered') AS delivered_later,
    countIf(settled IN ('bounced', 'expired')) AS failed_later,
    countIf(settled = '') AS still_waiting,
    round(quantile(0.5)(waited_s)) AS waited_p50_s,
    round(max(waited_s)) AS waited_max_s,
    any(example) AS example
FROM
(
    SELECT
        argMaxIf(d.class, ts, outcome = 'deferred') AS class,
        any(d.provider) AS provider,
        countIf(outcome = 'deferred') AS attempts,
        anyIf(outcome, is_final = 1) AS settled,
        dateDiff('second', min(ts), max(ts)) AS waited_s,
        argMaxIf(response, ts, outcome = 'deferred') AS example
    FROM deliveries AS d
    WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
    GROUP BY node, queue_id, rcpt_user, rcpt_domain
    HAVING attempts > 0
) AS per_recipient
GROUP BY class, provider
ORDER BY recipients DESC, class, provider
LIMIT {limit:UInt32}
