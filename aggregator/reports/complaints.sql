-- title: Complaints
-- description: Who complained about what, by domain and provider.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar domain complaints
SELECT domain, organisation, feedback_type, count() AS complaints, uniq(sender_user) AS senders, max(ts) AS last_seen
FROM complaints FINAL
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY domain, organisation, feedback_type
ORDER BY complaints DESC, domain
LIMIT {limit:UInt32}
