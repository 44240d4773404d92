-- title: Sessions by protocol
-- description: How many sessions there were, how long they lasted, how they ended.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- chart: bar protocol sessions
SELECT protocol, end_reason, count() AS sessions, uniq(user) AS users, round(quantile(0.5)(duration_ms) / 1000, 1) AS duration_p50_s,
    sum(s.bytes_in) AS bytes_in, sum(s.bytes_out) AS bytes_out
FROM sessions AS s
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY protocol, end_reason
ORDER BY protocol, sessions DESC
