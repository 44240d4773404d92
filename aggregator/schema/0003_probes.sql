-- What watchers see and judge.

-- One observation.
CREATE TABLE IF NOT EXISTS probe_runs
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(3)),
    target LowCardinality(String) CODEC(ZSTD(1)),
    `check` LowCardinality(String) CODEC(ZSTD(1)),
    vantage LowCardinality(String) CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(6)),
    slot String CODEC(ZSTD(3)),
    outcome LowCardinality(String) CODEC(ZSTD(1)),
    failed_step LowCardinality(String) CODEC(ZSTD(1)),
    error_class LowCardinality(String) CODEC(ZSTD(1)),
    error String CODEC(ZSTD(3)),
    total_ms UInt32 CODEC(T64, ZSTD(1)),
    INDEX by_run_id run_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, `check`, target, vantage, ts)
TTL toDateTime(ts) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- One step of an observation.
CREATE TABLE IF NOT EXISTS probe_steps
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(3)),
    run_id String CODEC(ZSTD(6)),
    target LowCardinality(String) CODEC(ZSTD(1)),
    `check` LowCardinality(String) CODEC(ZSTD(1)),
    vantage LowCardinality(String) CODEC(ZSTD(1)),
    seq UInt16 CODEC(T64, ZSTD(1)),
    step LowCardinality(String) CODEC(ZSTD(1)),
    `result` LowCardinality(String) CODEC(ZSTD(1)),
    error_class LowCardinality(String) CODEC(ZSTD(1)),
    detail String CODEC(ZSTD(3)),
    ms Float32 CODEC(ZSTD(1)),
    INDEX by_run_id run_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant, `check`, target, ts, seq)
TTL toDateTime(ts) + INTERVAL 60 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1;

-- A change of a service's state.
CREATE TABLE IF NOT EXISTS verdicts
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    target LowCardinality(String) CODEC(ZSTD(1)),
    service LowCardinality(String) CODEC(ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    since DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    first_bad DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    last_good DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    voters LowCardinality(String) CODEC(ZSTD(1)),
    generation UInt32 CODEC(T64, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYear(ts)
ORDER BY (tenant, target, service, ts)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;
