-- Sums by the hour, kept for three years. Each is filled by a view at the insert; each has a deduplication window of
-- its own, or a batch that is sent again would count twice here although it does not in the table it came from.

-- Attempts to deliver. Delays are those of final attempts.
CREATE TABLE IF NOT EXISTS deliveries_1h
(
    tenant LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    provider LowCardinality(String),
    rcpt_domain String CODEC(ZSTD(3)),
    mx_host String CODEC(ZSTD(3)),
    source_ip IPv6 CODEC(ZSTD(1)),
    outcome LowCardinality(String),
    class LowCardinality(String),
    attempts SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    finals SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    encrypted SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    size_bytes SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    delay_total_ms AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99), UInt64),
    messages AggregateFunction(uniqCombined64, String)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, rcpt_domain, provider, mx_host, source_ip, outcome, class)
TTL hour + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

CREATE MATERIALIZED VIEW IF NOT EXISTS deliveries_1h_fill TO deliveries_1h AS
SELECT
    tenant,
    toStartOfHour(ts, 'UTC') AS hour,
    provider,
    rcpt_domain,
    mx_host,
    source_ip,
    outcome,
    class,
    count() AS attempts,
    sum(is_final) AS finals,
    countIf(tls_version != '') AS encrypted,
    sum(d.size_bytes) AS size_bytes,
    quantilesTDigestStateIf(0.5, 0.9, 0.99)(d.delay_total_ms, is_final = 1) AS delay_total_ms,
    uniqCombined64State(trace_id) AS messages
FROM deliveries AS d
GROUP BY tenant, hour, provider, rcpt_domain, mx_host, source_ip, outcome, class;

-- Messages taken in or refused.
CREATE TABLE IF NOT EXISTS receptions_1h
(
    tenant LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    mta LowCardinality(String),
    sender_domain String CODEC(ZSTD(3)),
    rcpt_domain String CODEC(ZSTD(3)),
    verdict LowCardinality(String),
    class LowCardinality(String),
    receptions SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    recipients SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    encrypted SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    size_bytes SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    messages AggregateFunction(uniqCombined64, String)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, verdict, class, mta, sender_domain, rcpt_domain)
TTL hour + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

CREATE MATERIALIZED VIEW IF NOT EXISTS receptions_1h_fill TO receptions_1h AS
SELECT
    tenant,
    toStartOfHour(ts, 'UTC') AS hour,
    mta,
    sender_domain,
    rcpt_domain,
    verdict,
    class,
    count() AS receptions,
    sum(rcpt_count) AS recipients,
    countIf(tls_version != '') AS encrypted,
    sum(r.size_bytes) AS size_bytes,
    uniqCombined64State(trace_id) AS messages
FROM receptions AS r
GROUP BY tenant, hour, mta, sender_domain, rcpt_domain, verdict, class;

-- Observations.
CREATE TABLE IF NOT EXISTS probe_1h
(
    tenant LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    target LowCardinality(String),
    `check` LowCardinality(String),
    vantage LowCardinality(String),
    outcome LowCardinality(String),
    runs SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
    total_ms AggregateFunction(quantilesTDigest(0.5, 0.9, 0.99), UInt32)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, target, `check`, vantage, outcome)
TTL hour + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

CREATE MATERIALIZED VIEW IF NOT EXISTS probe_1h_fill TO probe_1h AS
SELECT
    tenant,
    toStartOfHour(ts, 'UTC') AS hour,
    target,
    `check`,
    vantage,
    outcome,
    count() AS runs,
    quantilesTDigestState(0.5, 0.9, 0.99)(p.total_ms) AS total_ms
FROM probe_runs AS p
GROUP BY tenant, hour, target, `check`, vantage, outcome;
