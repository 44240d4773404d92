-- title: Deliverability by domain and hour
-- description: What became of the mail to each domain, hour by hour: when a domain began to defer, and when it took mail again.
-- param: since DateTime 24h from when on
-- param: until DateTime 0s until when
-- param: domain String - one domain only; empty for all
-- param: limit UInt32 500 how many rows
-- chart: table
SELECT
    rcpt_domain,
    hour,
    sum(d.attempts) AS attempts,
    sumIf(d.attempts, outcome = 'delivered') AS delivered,
    sumIf(d.attempts, outcome = 'deferred') AS deferred,
    sumIf(d.attempts, outcome IN ('bounced', 'expired')) AS failed,
    round(100 * delivered / nullIf(delivered + failed, 0), 2) AS delivered_percent
FROM deliveries_1h AS d
WHERE hour >= toStartOfHour({since:DateTime}) AND hour < {until:DateTime} AND ({domain:String} = '' OR rcpt_domain = {domain:String})
GROUP BY rcpt_domain, hour
ORDER BY attempts DESC, rcpt_domain, hour
LIMIT {limit:UInt32}
