-- title: Probe latency by step and region
-- description: How long each step of each check took, seen from each region.
-- param: since DateTime 1d from when on
-- param: until DateTime 0s until when
-- chart: line step p95_ms
SELECT target, `check`, step, vantage, count() AS runs, countIf(result = 'failed') AS failed,
    round(quantileIf(0.5)(ms, result = 'ok'), 1) AS p50_ms, round(quantileIf(0.95)(ms, result = 'ok'), 1) AS p95_ms, round(maxIf(ms, result = 'ok'), 1) AS max_ms
FROM probe_steps
WHERE ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY target, `check`, step, vantage
ORDER BY target, `check`, min(seq), vantage
