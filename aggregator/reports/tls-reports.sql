-- title: TLS as others saw it
-- description: Sessions to our hosts that others reported (RFC 8460): how many failed, why, and at which host.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar domain failed
SELECT
    domain,
    policy_type,
    mx_host,
    result_type,
    sum(t.successful) AS successful,
    sum(t.failed) AS failed,
    groupUniqArray(5)(organisation) AS organisations,
    max(ts) AS last_seen
FROM tlsrpt_rows AS t FINAL
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY domain, policy_type, mx_host, result_type
ORDER BY failed DESC, successful DESC, domain, mx_host
LIMIT {limit:UInt32}
