-- Deliverability by recipient domain since an instant; one row an attempt, so "deferred" counts attempts.
SELECT
    rcpt_domain AS domain,
    countIf(outcome = 'delivered') AS delivered,
    countIf(outcome = 'deferred') AS deferred,
    countIf(outcome IN ('bounced', 'expired')) AS bounced,
    if(delivered = 0, NULL, quantileTDigestIf(0.5)(delay_total_ms, outcome = 'delivered')) AS median_delay_ms
FROM deliveries
WHERE ts >= fromUnixTimestamp64Micro({since_us:Int64}, 'UTC')
GROUP BY domain
ORDER BY delivered + deferred + bounced DESC, domain
LIMIT 20
