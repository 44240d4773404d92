-- What changed in a domain's posture, and the availability of services with outages dated back.

-- A check of a domain's posture that came out otherwise than the last time it was looked at.
CREATE TABLE IF NOT EXISTS posture_changes
(
    tenant LowCardinality(String) DEFAULT 'default',
    ts DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    node LowCardinality(String) CODEC(ZSTD(1)),
    event_id UInt128 CODEC(ZSTD(1)),
    domain LowCardinality(String) CODEC(ZSTD(1)),
    `check` LowCardinality(String) CODEC(ZSTD(1)),
    previous LowCardinality(String) CODEC(ZSTD(1)),
    `result` LowCardinality(String) CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(3)),
    remedy String CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toYear(ts)
ORDER BY (tenant, domain, ts, `check`)
TTL toDateTime(ts) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 480;

-- How long each service was in which state, by day (UTC). Every watcher reaches its own verdicts; for each day the
-- watcher that knew most speaks (then the first by name), because adding them up would count an outage three times.
-- A verdict holds from `since` on, up to the earliest `since` of those that follow: an outage is dated back to its first
-- failure, and what was said of that time before no longer stands. Maintenance holds up to the verdict after it and
-- covers what it lies over. The last verdict holds while its watcher still observes the target, and no longer than 20
-- minutes after its last observation: no data is not up.
CREATE OR REPLACE VIEW availability AS
WITH
    verdicts_in_order AS
    (
        SELECT
            v.tenant AS tenant,
            v.target AS target,
            v.service AS service,
            v.node AS node,
            v.state AS state,
            v.ts AS ts,
            v.event_id AS event_id,
            if(v.since > toDateTime64(0, 6, 'UTC'), v.since, v.ts) AS begins,
            leadInFrame(begins, 1, toDateTime64(0, 6, 'UTC')) OVER (
                PARTITION BY v.tenant, v.target, v.service, v.node
                ORDER BY v.ts, v.event_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_begins,
            max(v.ts) OVER (PARTITION BY v.tenant, v.target, v.service, v.node) AS last_verdict,
            least(now64(6, 'UTC'), greatest(seen.last_seen, last_verdict) + toIntervalSecond(1200)) AS last_end
        FROM verdicts AS v
        LEFT JOIN
        (
            SELECT tenant, target, vantage, max(ts) AS last_seen FROM probe_runs GROUP BY tenant, target, vantage
        ) AS seen ON seen.tenant = v.tenant AND seen.target = v.target AND seen.vantage = v.node
    ),
    windows AS
    (
        SELECT
            tenant, target, service, node,
            groupArray((begins, if(next_begins > toDateTime64(0, 6, 'UTC'), next_begins, last_end))) AS covered
        FROM verdicts_in_order
        WHERE state = 'maintenance'
        GROUP BY tenant, target, service, node
    ),
    spans AS
    (
        SELECT
            tenant, target, service, node, state, begins,
            count() OVER later AS followed,
            if(followed > 0, min(begins) OVER later, last_end) AS ends
        FROM verdicts_in_order
        WHERE state != 'maintenance'
        WINDOW later AS (
            PARTITION BY tenant, target, service, node
            ORDER BY ts, event_id
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
        UNION ALL
        SELECT tenant, target, service, node, 'maintenance', window.1, 0, window.2
        FROM windows ARRAY JOIN covered AS window
    ),
    days AS
    (
        SELECT
            s.tenant AS tenant, s.target AS target, s.service AS service, s.node AS node, s.state AS state,
            toDate(arrayJoin(range(toUInt32(toDate(begins)), toUInt32(toDate(ends)) + 1))) AS day,
            greatest(begins, toDateTime64(day, 6, 'UTC')) AS day_begins,
            least(ends, toDateTime64(day + 1, 6, 'UTC')) AS day_ends,
            if(state = 'maintenance', 0, arraySum(window -> greatest(0,
                toUnixTimestamp64Micro(least(day_ends, window.2))
                    - toUnixTimestamp64Micro(greatest(day_begins, window.1))), w.covered)) AS maintained,
            greatest(0, toUnixTimestamp64Micro(day_ends) - toUnixTimestamp64Micro(day_begins) - maintained) AS micros
        FROM spans AS s
        LEFT JOIN windows AS w
            ON w.tenant = s.tenant AND w.target = s.target AND w.service = s.service AND w.node = s.node
        WHERE ends > begins
    ),
    by_watcher AS
    (
        SELECT
            tenant, target, service, day, node,
            sumIf(micros, state IN ('up', 'degraded', 'regional')) AS up,
            sumIf(micros, state = 'down') AS down,
            sumIf(micros, state = 'maintenance') AS maintenance,
            sumIf(micros, state = 'degraded') AS degraded,
            sumIf(micros, state = 'regional') AS regional
        FROM days
        GROUP BY tenant, target, service, day, node
    ),
    by_day AS
    (
        SELECT
            tenant, target, service, day,
            argMax((up, down, maintenance, degraded, regional), (up + down + maintenance, -rank)) AS best
        FROM
        (
            SELECT *, toInt64(row_number() OVER (PARTITION BY tenant, target, service, day ORDER BY node)) AS rank
            FROM by_watcher
        )
        GROUP BY tenant, target, service, day
    )
SELECT
    tenant,
    target,
    service,
    day,
    best.1 / 1e6 AS up_s,
    best.2 / 1e6 AS down_s,
    unknown / 1e6 AS unknown_s,
    best.3 / 1e6 AS maintenance_s,
    best.4 / 1e6 AS degraded_s,
    best.5 / 1e6 AS regional_s,
    -- Whole microseconds up to here, so that rounding down is exact.
    if(known = 0, NULL, intDiv(100000 * best.1, known) / 1000) AS availability,
    if(counted = 0, NULL, intDiv(100000 * best.1, counted) / 1000) AS availability_lower,
    if(counted = 0, NULL, intDiv(100000 * (best.1 + unknown), counted) / 1000) AS availability_upper,
    if(counted = 0, 0, intDiv(100000 * known, counted) / 1000) AS coverage
FROM
(
    SELECT
        *,
        greatest(0, least(86400000000, dateDiff('microsecond', toDateTime64(day, 6, 'UTC'), now64(6, 'UTC')))
            - best.1 - best.2 - best.3) AS unknown,
        best.1 + best.2 AS known,
        known + unknown AS counted
    FROM by_day
);
