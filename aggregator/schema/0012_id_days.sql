-- On which days an id of a message was met: queue id, the next host's queue id, trace id, and the trace id that follows
-- from a Message-ID. Filters in each part would take as much of the disk, and all of them would be read for one trace.
-- Here it is a few granules a month.
CREATE TABLE IF NOT EXISTS id_days
(
    tenant LowCardinality(String) DEFAULT 'default',
    -- The low half of cityHash64: a few days too many are harmless.
    id UInt32 CODEC(Delta, T64, ZSTD(1)),
    day Date CODEC(T64, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (id, tenant, day)
TTL day + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480, ttl_only_drop_parts = 1;

-- No DISTINCT: the table makes one row of equal ones when a block is written, and a set of them first takes eight times as
-- long.
CREATE MATERIALIZED VIEW IF NOT EXISTS id_days_of_receptions TO id_days AS
WITH toUInt32(cityHash64('')) AS none
SELECT
    tenant,
    arrayJoin(arrayFilter(id -> id != none, [
        toUInt32(cityHash64(queue_id)), toUInt32(cityHash64(trace_given)),
        toUInt32(cityHash64(if(empty(message_id), '', lower(hex(substring(SHA256(message_id), 1, 8))))))])) AS id,
    toDate(ts, 'UTC') AS day
FROM receptions;

CREATE MATERIALIZED VIEW IF NOT EXISTS id_days_of_deliveries TO id_days AS
WITH toUInt32(cityHash64('')) AS none
SELECT
    tenant,
    arrayJoin(arrayFilter(id -> id != none, [
        toUInt32(cityHash64(queue_id)), toUInt32(cityHash64(next_queue_id)), toUInt32(cityHash64(trace_given)),
        toUInt32(cityHash64(if(empty(message_id), '', lower(hex(substring(SHA256(message_id), 1, 8))))))])) AS id,
    toDate(ts, 'UTC') AS day
FROM deliveries;

-- What was there before. A statement that names a day is carried out for each day of the table that it reads.
INSERT INTO id_days (tenant, id, day)
WITH toUInt32(cityHash64('')) AS none
SELECT
    tenant,
    arrayJoin(arrayFilter(id -> id != none, [
        toUInt32(cityHash64(queue_id)), toUInt32(cityHash64(trace_given)),
        toUInt32(cityHash64(if(empty(message_id), '', lower(hex(substring(SHA256(message_id), 1, 8))))))])) AS id,
    toDate(ts, 'UTC') AS day
FROM receptions
WHERE toDate(ts) = {day:Date};

INSERT INTO id_days (tenant, id, day)
WITH toUInt32(cityHash64('')) AS none
SELECT
    tenant,
    arrayJoin(arrayFilter(id -> id != none, [
        toUInt32(cityHash64(queue_id)), toUInt32(cityHash64(next_queue_id)), toUInt32(cityHash64(trace_given)),
        toUInt32(cityHash64(if(empty(message_id), '', lower(hex(substring(SHA256(message_id), 1, 8))))))])) AS id,
    toDate(ts, 'UTC') AS day
FROM deliveries
WHERE toDate(ts) = {day:Date};

ALTER TABLE receptions DROP INDEX IF EXISTS by_queue_id, DROP INDEX IF EXISTS by_message_id, DROP INDEX IF EXISTS by_trace_id;

ALTER TABLE deliveries DROP INDEX IF EXISTS by_queue_id, DROP INDEX IF EXISTS by_next_queue_id,
    DROP INDEX IF EXISTS by_message_id, DROP INDEX IF EXISTS by_trace_id;

-- Everything that was said of one id, whatever its kind: SELECT * FROM trace_of(id = '4ZxYk13Xjfz9rT'). Without the days,
-- message_trace reads the ids of all rows.
CREATE OR REPLACE VIEW trace_of AS
SELECT *
FROM message_trace
WHERE toDate(ts) GLOBAL IN
    (
        SELECT day FROM id_days WHERE id IN
            (toUInt32(cityHash64({id:String})), toUInt32(cityHash64(lower(hex(substring(SHA256({id:String}), 1, 8))))))
        UNION ALL
        SELECT toDate(ts, 'UTC') AS day FROM bounces
        WHERE queue_id = {id:String} OR message_id = {id:String} OR trace_id = {id:String}
    )
    AND (queue_id = {id:String} OR next_queue_id = {id:String} OR message_id = {id:String} OR trace_id = {id:String});
