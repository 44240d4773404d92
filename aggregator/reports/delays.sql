-- title: Delay by stage
-- description: Where final attempts spent their time: before the queue manager (a), in the queue (b), connecting (c), sending (d).
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- param: limit UInt32 50 how many rows
-- chart: bar rcpt_domain total_p99_s
SELECT
    rcpt_domain,
    count() AS deliveries,
    round(quantile(0.5)(delay_a_ms) / 1000, 3) AS a_p50_s,
    round(quantile(0.99)(delay_a_ms) / 1000, 3) AS a_p99_s,
    round(quantile(0.5)(delay_b_ms) / 1000, 3) AS b_p50_s,
    round(quantile(0.99)(delay_b_ms) / 1000, 3) AS b_p99_s,
    round(quantile(0.5)(delay_c_ms) / 1000, 3) AS c_p50_s,
    round(quantile(0.99)(delay_c_ms) / 1000, 3) AS c_p99_s,
    round(quantile(0.5)(delay_d_ms) / 1000, 3) AS d_p50_s,
    round(quantile(0.99)(delay_d_ms) / 1000, 3) AS d_p99_s,
    round(quantile(0.5)(delay_total_ms) / 1000, 3) AS total_p50_s,
    round(quantile(0.99)(delay_total_ms) / 1000, 3) AS total_p99_s
FROM deliveries
WHERE is_final = 1 AND ts >= {since:DateTime} AND ts < {until:DateTime}
GROUP BY rcpt_domain
ORDER BY deliveries DESC, rcpt_domain
LIMIT {limit:UInt32}
