-- title: Rejected at the door
-- description: Why offered messages were not taken in, and from how many places.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar class receptions
SELECT verdict, class, class_rule, smtp_code, count() AS receptions, uniq(client_ip) AS clients, uniq(sender_domain) AS sender_domains, any(response) AS example
FROM receptions
WHERE verdict != 'accepted' AND ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY verdict, class, class_rule, smtp_code
ORDER BY receptions DESC
LIMIT {limit:UInt32}
