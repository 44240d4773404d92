-- What mail systems do: messages, sessions, log-ins.

-- A message taken in or refused.
CREATE TABLE IF NOT EXISTS receptions
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    mta LowCardinality(String) CODEC(ZSTD(1)),
    queue_id String CODEC(ZSTD(3)),
    message_id String CODEC(ZSTD(3)),
    trace_given String CODEC(ZSTD(3)),
    client_ip IPv6 CODEC(ZSTD(1)),
    client_name String CODEC(ZSTD(3)),
    helo String CODEC(ZSTD(3)),
    protocol LowCardinality(String) CODEC(ZSTD(1)),
    auth_user String CODEC(ZSTD(3)),
    sender_user String CODEC(ZSTD(3)),
    sender_domain String CODEC(ZSTD(3)),
    rcpt_count UInt32 CODEC(T64, ZSTD(1)),
    rcpt_domain String CODEC(ZSTD(3)),
    size_bytes UInt64 CODEC(T64, ZSTD(1)),
    verdict LowCardinality(String) CODEC(ZSTD(1)),
    smtp_code UInt16 CODEC(T64, ZSTD(1)),
    enhanced_code LowCardinality(String) CODEC(ZSTD(1)),
    class LowCardinality(String) CODEC(ZSTD(1)),
    class_rule LowCardinality(String) CODEC(ZSTD(1)),
    response String CODEC(ZSTD(3)),
    spf LowCardinality(String) CODEC(ZSTD(1)),
    dkim LowCardinality(String) CODEC(ZSTD(1)),
    dmarc LowCardinality(String) CODEC(ZSTD(1)),
    arc LowCardinality(String) CODEC(ZSTD(1)),
    spam_score Float32 CODEC(ZSTD(1)),
    spam_symbols Map(String, Float32) CODEC(ZSTD(3)),
    tls_version LowCardinality(String) CODEC(ZSTD(1)),
    tls_cipher LowCardinality(String) CODEC(ZSTD(1)),
    -- Given by our own mail system; else it follows from the Message-ID, which every host sees.
    trace_id String ALIAS if(notEmpty(trace_given) OR empty(message_id), trace_given, lower(hex(substring(SHA256(message_id), 1, 8)))),
    INDEX by_queue_id queue_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_message_id message_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant, verdict, class, toStartOfHour(ts), ts)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1;

-- One attempt for one recipient.
CREATE TABLE IF NOT EXISTS deliveries
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    mta LowCardinality(String) CODEC(ZSTD(1)),
    queue_id String CODEC(ZSTD(3)),
    next_queue_id String CODEC(ZSTD(3)),
    message_id String CODEC(ZSTD(3)),
    trace_given String CODEC(ZSTD(3)),
    sender_user String CODEC(ZSTD(3)),
    sender_domain String CODEC(ZSTD(3)),
    rcpt_user String CODEC(ZSTD(3)),
    rcpt_domain String CODEC(ZSTD(3)),
    provider LowCardinality(String) CODEC(ZSTD(1)),
    mx_host String CODEC(ZSTD(3)),
    mx_ip IPv6 CODEC(ZSTD(1)),
    source_ip IPv6 CODEC(ZSTD(1)),
    attempt UInt32 CODEC(T64, ZSTD(1)),
    outcome LowCardinality(String) CODEC(ZSTD(1)),
    is_final UInt8 CODEC(T64, ZSTD(1)),
    smtp_code UInt16 CODEC(T64, ZSTD(1)),
    enhanced_code LowCardinality(String) CODEC(ZSTD(1)),
    class LowCardinality(String) CODEC(ZSTD(1)),
    class_rule LowCardinality(String) CODEC(ZSTD(1)),
    response_values Array(String) CODEC(ZSTD(3)),
    response_template LowCardinality(String) CODEC(ZSTD(1)),
    tls_version LowCardinality(String) CODEC(ZSTD(1)),
    tls_cipher LowCardinality(String) CODEC(ZSTD(1)),
    tls_trust LowCardinality(String) CODEC(ZSTD(1)),
    size_bytes UInt64 CODEC(T64, ZSTD(1)),
    delay_total_ms UInt64 CODEC(GCD, T64, ZSTD(1)),
    delay_a_ms UInt64 CODEC(GCD, T64, ZSTD(1)),
    delay_b_ms UInt64 CODEC(GCD, T64, ZSTD(1)),
    delay_c_ms UInt64 CODEC(GCD, T64, ZSTD(1)),
    delay_d_ms UInt64 CODEC(GCD, T64, ZSTD(1)),
    protocol LowCardinality(String) CODEC(ZSTD(1)),
    -- Given by our own mail system; else it follows from the Message-ID, which every host sees.
    trace_id String ALIAS if(notEmpty(trace_given) OR empty(message_id), trace_given, lower(hex(substring(SHA256(message_id), 1, 8)))),
    -- The template with a variable part in the place of each asterisk and one after its end. A part that another column
    -- holds is one octet that says which; one part too many says that the first is the whole text.
    response String ALIAS if(length(response_values) > length(splitByChar('*', response_template)), response_values[1],
        arrayStringConcat(arrayMap((text, value) -> concat(text, multiIf(
            value = '\x01', next_queue_id, value = '\x02', message_id, value = '\x03', mx_host,
            value = '\x04', replaceOne(IPv6NumToString(mx_ip), '::ffff:', ''),
            value = '\x05', concat(rcpt_user, '@', rcpt_domain), value = '\x06', concat(sender_user, '@', sender_domain),
            value = '\x07', queue_id, value = '\x08', rcpt_domain, value)),
            splitByChar('*', response_template), arrayResize(response_values, length(splitByChar('*', response_template)))))),
    INDEX by_queue_id queue_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_next_queue_id next_queue_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_message_id message_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant, rcpt_domain, outcome, toStartOfHour(ts), ts)
TTL toDateTime(ts) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1;

-- An IMAP, POP3, submission or webmail session that has ended.
CREATE TABLE IF NOT EXISTS sessions
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    protocol LowCardinality(String) CODEC(ZSTD(1)),
    `user` String CODEC(ZSTD(3)),
    client_ip IPv6 CODEC(ZSTD(1)),
    duration_ms UInt64 CODEC(T64, ZSTD(1)),
    bytes_in UInt64 CODEC(T64, ZSTD(1)),
    bytes_out UInt64 CODEC(T64, ZSTD(1)),
    commands UInt32 CODEC(T64, ZSTD(1)),
    end_reason LowCardinality(String) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant, protocol, `user`, ts)
TTL toDateTime(ts) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1;

-- An attempt to log in.
CREATE TABLE IF NOT EXISTS auth_events
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    protocol LowCardinality(String) CODEC(ZSTD(1)),
    `user` String CODEC(ZSTD(3)),
    client_ip IPv6 CODEC(ZSTD(1)),
    mechanism LowCardinality(String) CODEC(ZSTD(1)),
    `result` LowCardinality(String) CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toDate(ts)
ORDER BY (tenant, `result`, client_ip, ts)
TTL toDateTime(ts) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1;
