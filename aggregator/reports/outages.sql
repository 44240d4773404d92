-- title: Outages with their bounds
-- description: Every incident: when it began and ended, what it was, how long it lasted.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- chart: table
SELECT name, target, service, state, cause, confidence, scope, opened_at, if(resolved_at > opened_at, resolved_at, NULL) AS resolved_at,
    dateDiff('second', opened_at, ifNull(resolved_at, now64(6, 'UTC'))) AS lasted_s, summary
FROM incidents AS i FINAL
WHERE i.opened_at >= {since:DateTime} AND i.opened_at < {until:DateTime}
ORDER BY i.opened_at DESC
