-- title: TLS coverage
-- description: How much mail went out and came in encrypted, and by which version.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- chart: bar tls_version messages
SELECT direction, tls_version, count() AS messages, round(100 * messages / sum(messages) OVER (PARTITION BY direction), 2) AS percent, uniq(peer) AS peers
FROM
(
    SELECT 'out' AS direction, tls_version, mx_host AS peer FROM deliveries WHERE protocol NOT IN ('local', 'virtual', 'pipe', 'lmtp') AND ts >= {since:DateTime} AND ts < {until:DateTime}
    UNION ALL
    SELECT 'in' AS direction, tls_version, toString(client_ip) AS peer FROM receptions WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
)
GROUP BY direction, tls_version
ORDER BY direction, messages DESC
