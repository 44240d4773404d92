-- title: Blocklist hits
-- description: Which of our addresses and domains stood on which list, since when and until when.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- chart: table
SELECT subject, list, min(ts) AS first_seen, max(ts) AS last_seen, count() AS times, argMax(answer, ts) AS answer, argMax(reason, ts) AS reason
FROM blocklist_hits
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY subject, list
ORDER BY last_seen DESC, subject, list
