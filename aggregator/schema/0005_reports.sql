-- What others report. A report that comes twice stands once.

-- One record of a DMARC aggregate report (RFC 7489 appendix C).
CREATE TABLE IF NOT EXISTS dmarc_rows
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    domain LowCardinality(String) CODEC(ZSTD(1)),
    organisation LowCardinality(String) CODEC(ZSTD(1)),
    report_id String CODEC(ZSTD(3)),
    `begin` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `end` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `row` UInt32 CODEC(T64, ZSTD(1)),
    source_ip IPv6 CODEC(ZSTD(1)),
    `count` UInt64 CODEC(T64, ZSTD(1)),
    disposition LowCardinality(String) CODEC(ZSTD(1)),
    dkim LowCardinality(String) CODEC(ZSTD(1)),
    spf LowCardinality(String) CODEC(ZSTD(1)),
    header_from String CODEC(ZSTD(3)),
    envelope_from String CODEC(ZSTD(3)),
    spf_domain String CODEC(ZSTD(3)),
    dkim_domain String CODEC(ZSTD(3)),
    dkim_selector LowCardinality(String) CODEC(ZSTD(1)),
    override_reason LowCardinality(String) CODEC(ZSTD(1)),
    policy String CODEC(ZSTD(3)),
    envelope_to String CODEC(ZSTD(3)),
    dkim_result LowCardinality(String) CODEC(ZSTD(1)),
    spf_result LowCardinality(String) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, domain, organisation, report_id, `begin`, `row`)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- One policy or failure of a TLS report (RFC 8460).
CREATE TABLE IF NOT EXISTS tlsrpt_rows
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    domain LowCardinality(String) CODEC(ZSTD(1)),
    organisation LowCardinality(String) CODEC(ZSTD(1)),
    report_id String CODEC(ZSTD(3)),
    `begin` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `end` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `row` UInt32 CODEC(T64, ZSTD(1)),
    policy_type LowCardinality(String) CODEC(ZSTD(1)),
    successful UInt64 CODEC(T64, ZSTD(1)),
    failed UInt64 CODEC(T64, ZSTD(1)),
    result_type LowCardinality(String) CODEC(ZSTD(1)),
    sending_ip IPv6 CODEC(ZSTD(1)),
    mx_host String CODEC(ZSTD(3)),
    reason String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, domain, organisation, report_id, `begin`, `row`)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- A complaint of a feedback loop (RFC 5965).
CREATE TABLE IF NOT EXISTS complaints
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    domain LowCardinality(String) CODEC(ZSTD(1)),
    organisation LowCardinality(String) CODEC(ZSTD(1)),
    report_id String CODEC(ZSTD(3)),
    feedback_type LowCardinality(String) CODEC(ZSTD(1)),
    source_ip IPv6 CODEC(ZSTD(1)),
    message_id String CODEC(ZSTD(3)),
    sender_user String CODEC(ZSTD(3)),
    rcpt_domain String CODEC(ZSTD(3)),
    arrived_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, domain, organisation, report_id, message_id)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- An address or a domain found on a blocklist.
CREATE TABLE IF NOT EXISTS blocklist_hits
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    subject String CODEC(ZSTD(3)),
    `list` LowCardinality(String) CODEC(ZSTD(1)),
    answer LowCardinality(String) CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, subject, `list`, ts)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- One check of a domain's posture.
CREATE TABLE IF NOT EXISTS posture_checks
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    domain LowCardinality(String) CODEC(ZSTD(1)),
    `check` LowCardinality(String) CODEC(ZSTD(1)),
    `result` LowCardinality(String) CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(3)),
    remedy String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, domain, `check`, ts)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;
