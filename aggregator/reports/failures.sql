-- title: Last failures
-- description: The last deliveries that were deferred, bounced or given up, and why.
-- param: since DateTime 1d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: table
SELECT ts, node, queue_id, sender_domain, rcpt_user, rcpt_domain, mx_host, outcome, smtp_code, enhanced_code, class, response
FROM deliveries
WHERE outcome != 'delivered' AND ts >= {since:DateTime} AND ts < {until:DateTime}
ORDER BY ts DESC
LIMIT {limit:UInt32}
