-- What hosts say of themselves.

-- Depth and age of a queue.
CREATE TABLE IF NOT EXISTS queue_samples
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    queue LowCardinality(String) CODEC(ZSTD(1)),
    rcpt_domain String CODEC(ZSTD(3)),
    messages UInt64 CODEC(T64, ZSTD(1)),
    bytes UInt64 CODEC(T64, ZSTD(1)),
    oldest_age_s UInt64 CODEC(T64, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, node, queue, rcpt_domain, ts)
TTL toDateTime(ts) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- A host's use of its resources.
CREATE TABLE IF NOT EXISTS resource_samples
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    cpu Float32 CODEC(ZSTD(1)),
    memory Float32 CODEC(ZSTD(1)),
    disk Float32 CODEC(ZSTD(1)),
    inodes Float32 CODEC(ZSTD(1)),
    fds UInt64 CODEC(T64, ZSTD(1)),
    psi_cpu Float32 CODEC(ZSTD(1)),
    psi_memory Float32 CODEC(ZSTD(1)),
    psi_io Float32 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, node, ts)
TTL toDateTime(ts) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- A log line as it came.
CREATE TABLE IF NOT EXISTS raw_lines
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    `offset` UInt64 CODEC(T64, ZSTD(1)),
    dialect LowCardinality(String) CODEC(ZSTD(1)),
    recognised UInt8 CODEC(T64, ZSTD(1)),
    line String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant, node, source, ts)
TTL toDateTime(ts) + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1;
