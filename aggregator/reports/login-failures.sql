-- title: Failed log-ins by network
-- description: Networks (/24, /48) from which log-ins fail, and how many users they tried.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar network failed
SELECT
    if(startsWith(toString(client_ip), '::ffff:'),
        cutIPv6(client_ip, 0, 1), cutIPv6(client_ip, 10, 0)) AS network,
    countIf(result != 'ok') AS failed,
    countIf(result = 'ok') AS succeeded,
    uniqIf(user, result != 'ok') AS users_tried,
    groupUniqArray(5)(protocol) AS protocols,
    max(ts) AS last_seen
FROM auth_events
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY network
HAVING failed > 0
ORDER BY failed DESC, network
LIMIT {limit:UInt32}
