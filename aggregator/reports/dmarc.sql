-- title: DMARC alignment by source
-- description: What others saw of mail in our name: how much was aligned, from which address.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar source_ip messages
SELECT domain, source_ip, sum(`count`) AS messages, sumIf(`count`, dkim = 'pass') AS dkim_aligned, sumIf(`count`, spf = 'pass') AS spf_aligned,
    round(100 * sumIf(`count`, dkim = 'pass' OR spf = 'pass') / nullIf(messages, 0), 2) AS aligned_percent,
    sumIf(`count`, disposition IN ('quarantine', 'reject')) AS acted_on, groupUniqArray(5)(organisation) AS organisations
FROM dmarc_rows FINAL
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY domain, source_ip
ORDER BY messages DESC, domain, source_ip
LIMIT {limit:UInt32}
