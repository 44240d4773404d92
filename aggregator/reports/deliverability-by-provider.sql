-- title: Deliverability by provider
-- description: What became of the mail to each provider of mailboxes.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar provider delivered_percent
SELECT
    provider,
    sum(d.attempts) AS attempts,
    sumIf(d.attempts, outcome = 'delivered') AS delivered,
    sumIf(d.attempts, outcome = 'deferred') AS deferred,
    sumIf(d.attempts, outcome IN ('bounced', 'expired')) AS failed,
    round(100 * delivered / nullIf(delivered + failed, 0), 2) AS delivered_percent,
    round(arrayElement(quantilesTDigestMerge(0.5, 0.9, 0.99)(delay_total_ms), 1) / 1000, 3) AS delay_p50_s,
    round(arrayElement(quantilesTDigestMerge(0.5, 0.9, 0.99)(delay_total_ms), 3) / 1000, 3) AS delay_p99_s,
    uniqCombined64Merge(d.messages) AS messages
FROM deliveries_1h AS d
WHERE hour >= toStartOfHour({since:DateTime}) AND hour < {until:DateTime}
GROUP BY provider
ORDER BY attempts DESC, provider
LIMIT {limit:UInt32}
