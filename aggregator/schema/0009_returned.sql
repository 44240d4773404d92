-- What comes back by mail about single messages. What comes twice stands once: `ts` is the message's own date, so that
-- both are in one partition.

-- One recipient of a bounce (RFC 3464, or free-form).
CREATE TABLE IF NOT EXISTS bounces
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(NONE),
    style LowCardinality(String) CODEC(ZSTD(1)),
    report_id String CODEC(ZSTD(3)),
    `row` UInt32 CODEC(T64, ZSTD(1)),
    reporting_mta String CODEC(ZSTD(3)),
    envelope_id String CODEC(ZSTD(3)),
    queue_id String CODEC(ZSTD(3)),
    message_id String CODEC(ZSTD(3)),
    trace_id String CODEC(ZSTD(3)),
    sender_user String CODEC(ZSTD(3)),
    sender_domain String CODEC(ZSTD(3)),
    rcpt_user String CODEC(ZSTD(3)),
    rcpt_domain String CODEC(ZSTD(3)),
    original_rcpt String CODEC(ZSTD(3)),
    provider LowCardinality(String) CODEC(ZSTD(1)),
    mx_host String CODEC(ZSTD(3)),
    outcome LowCardinality(String) CODEC(ZSTD(1)),
    action LowCardinality(String) CODEC(ZSTD(1)),
    smtp_code UInt16 CODEC(T64, ZSTD(1)),
    enhanced_code LowCardinality(String) CODEC(ZSTD(1)),
    class LowCardinality(String) CODEC(ZSTD(1)),
    class_rule LowCardinality(String) CODEC(ZSTD(1)),
    response String CODEC(ZSTD(3)),
    response_template LowCardinality(String) CODEC(ZSTD(1)),
    arrived_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    last_attempt_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    retry_until DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX by_message_id message_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, rcpt_domain, report_id, `row`)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- An answer of a machine that is no bounce (RFC 3834).
CREATE TABLE IF NOT EXISTS auto_replies
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(NONE),
    kind LowCardinality(String) CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(3)),
    report_id String CODEC(ZSTD(3)),
    message_id String CODEC(ZSTD(3)),
    trace_id String CODEC(ZSTD(3)),
    from_user String CODEC(ZSTD(3)),
    from_domain String CODEC(ZSTD(3)),
    to_user String CODEC(ZSTD(3)),
    to_domain String CODEC(ZSTD(3)),
    subject String CODEC(ZSTD(3)),
    INDEX by_message_id message_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, from_domain, report_id)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- A report that a message failed authentication (RFC 6591).
CREATE TABLE IF NOT EXISTS dmarc_failures
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(NONE),
    domain String CODEC(ZSTD(3)),
    organisation LowCardinality(String) CODEC(ZSTD(1)),
    report_id String CODEC(ZSTD(3)),
    auth_failure LowCardinality(String) CODEC(ZSTD(1)),
    delivery_result LowCardinality(String) CODEC(ZSTD(1)),
    identity_alignment LowCardinality(String) CODEC(ZSTD(1)),
    source_ip IPv6 CODEC(ZSTD(1)),
    header_from String CODEC(ZSTD(3)),
    envelope_from String CODEC(ZSTD(3)),
    rcpt_domain String CODEC(ZSTD(3)),
    dkim_domain String CODEC(ZSTD(3)),
    dkim_selector LowCardinality(String) CODEC(ZSTD(1)),
    spf_dns String CODEC(ZSTD(3)),
    auth_results String CODEC(ZSTD(3)),
    message_id String CODEC(ZSTD(3)),
    trace_id String CODEC(ZSTD(3)),
    arrived_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX by_message_id message_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, domain, organisation, report_id, message_id)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- The life of a message, with what came back of it.
CREATE OR REPLACE VIEW message_trace AS
SELECT
    tenant, ts, node, 'reception' AS kind, mta, queue_id, '' AS next_queue_id, message_id, trace_id,
    sender_user, sender_domain, '' AS rcpt_user, rcpt_domain, client_name AS peer_host, client_ip AS peer_ip,
    verdict AS outcome, smtp_code, enhanced_code, class, response, toUInt64(0) AS delay_total_ms,
    class_rule, size_bytes, toUInt32(0) AS attempt, toUInt64(0) AS delay_a_ms, toUInt64(0) AS delay_b_ms,
    toUInt64(0) AS delay_c_ms, toUInt64(0) AS delay_d_ms
FROM receptions
UNION ALL
SELECT
    tenant, ts, node, 'delivery' AS kind, mta, queue_id, next_queue_id, message_id, trace_id,
    sender_user, sender_domain, rcpt_user, rcpt_domain, mx_host AS peer_host, mx_ip AS peer_ip,
    outcome, smtp_code, enhanced_code, class, response, delay_total_ms,
    class_rule, size_bytes, attempt, delay_a_ms, delay_b_ms, delay_c_ms, delay_d_ms
FROM deliveries
UNION ALL
SELECT
    tenant, ts, node, 'bounce' AS kind, style AS mta, queue_id, '' AS next_queue_id, message_id, trace_id,
    sender_user, sender_domain, rcpt_user, rcpt_domain, reporting_mta AS peer_host, toIPv6('::') AS peer_ip,
    outcome, smtp_code, enhanced_code, class, response, toUInt64(0) AS delay_total_ms,
    class_rule, toUInt64(0) AS size_bytes, toUInt32(0) AS attempt, toUInt64(0) AS delay_a_ms, toUInt64(0) AS delay_b_ms,
    toUInt64(0) AS delay_c_ms, toUInt64(0) AS delay_d_ms
FROM bounces FINAL;
