-- title: Restarts and their success
-- description: What was restarted or refused, and how often it helped.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- chart: bar unit verified
SELECT unit, host, verb, count() AS remedies, countIf(state = 'verified') AS verified, countIf(state = 'failed') AS failed, countIf(state = 'refused') AS refused,
    round(100 * verified / nullIf(verified + failed, 0), 1) AS helped_percent, max(ts) AS last_at
FROM remedies FINAL
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY unit, host, verb
ORDER BY remedies DESC, unit
