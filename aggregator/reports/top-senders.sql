-- title: Top senders and suspects
-- description: Who sends most, how much of it fails and how many domains it goes to: a stolen account stands out.
-- param: since DateTime 1d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar sender messages
SELECT
    concat(sender_user, '@', sender_domain) AS sender,
    uniq(queue_id) AS messages,
    count() AS attempts,
    uniq(rcpt_user, rcpt_domain) AS recipients,
    uniq(rcpt_domain) AS recipient_domains,
    countIf(outcome IN ('bounced', 'expired')) AS failed,
    round(100 * failed / attempts, 2) AS failed_percent,
    failed_percent > 20 AND recipients > 50 AS suspect
FROM deliveries
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY sender
ORDER BY suspect DESC, messages DESC, sender
LIMIT {limit:UInt32}
