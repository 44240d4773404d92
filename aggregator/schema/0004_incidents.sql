-- Incidents, pages, remedies: the last revision of each stands. They are state, so no view that counts reads them.

-- A change of an incident.
CREATE TABLE IF NOT EXISTS incidents
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    incident String CODEC(ZSTD(3)),
    revision UInt32 CODEC(T64, ZSTD(1)),
    name String CODEC(ZSTD(3)),
    target LowCardinality(String) CODEC(ZSTD(1)),
    service LowCardinality(String) CODEC(ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    cause LowCardinality(String) CODEC(ZSTD(1)),
    confidence LowCardinality(String) CODEC(ZSTD(1)),
    scope LowCardinality(String) CODEC(ZSTD(1)),
    summary String CODEC(ZSTD(3)),
    next_steps String CODEC(ZSTD(3)),
    opened_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    resolved_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYear(ts)
ORDER BY (tenant, incident)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- A change of a page.
CREATE TABLE IF NOT EXISTS pages
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    page_id String CODEC(ZSTD(3)),
    revision UInt32 CODEC(T64, ZSTD(1)),
    incident String CODEC(ZSTD(3)),
    person LowCardinality(String) CODEC(ZSTD(1)),
    channel LowCardinality(String) CODEC(ZSTD(1)),
    attempt UInt32 CODEC(T64, ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    receipt String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYear(ts)
ORDER BY (tenant, page_id)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- A change of a remedy.
CREATE TABLE IF NOT EXISTS remedies
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    remedy_id String CODEC(ZSTD(3)),
    revision UInt32 CODEC(T64, ZSTD(1)),
    incident String CODEC(ZSTD(3)),
    unit LowCardinality(String) CODEC(ZSTD(1)),
    host LowCardinality(String) CODEC(ZSTD(1)),
    verb LowCardinality(String) CODEC(ZSTD(1)),
    state LowCardinality(String) CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(3)),
    evidence_hash String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYear(ts)
ORDER BY (tenant, remedy_id)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- One section of the evidence that was kept of an incident.
CREATE TABLE IF NOT EXISTS evidence
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    incident String CODEC(ZSTD(3)),
    unit LowCardinality(String) CODEC(ZSTD(1)),
    host LowCardinality(String) CODEC(ZSTD(1)),
    section LowCardinality(String) CODEC(ZSTD(1)),
    content String CODEC(ZSTD(3)),
    hash String CODEC(ZSTD(3)),
    previous_hash String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toYear(ts)
ORDER BY (tenant, incident, ts, event_id)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;
