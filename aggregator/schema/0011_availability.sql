-- Availability from verdicts that are told anew when late observations change what was.

-- How long each service was in which state, by day (UTC). Every watcher reaches its own verdicts; for each day the
-- watcher that knew most speaks (then the first by name), because adding them up would count an outage three times.
-- A verdict holds from `since` on, up to the earliest `since` of those that were told after it: what begins earlier
-- takes the place of what was told of that time before. The last one holds while its watcher still observes the target,
-- and no longer than 20 minutes after its last observation: no data is not up. Below 95 % coverage there is no headline
-- figure; the bounds are always there.
CREATE OR REPLACE VIEW availability AS
WITH
    spans AS
    (
        SELECT
            v.tenant AS tenant,
            v.target AS target,
            v.service AS service,
            v.node AS node,
            v.state AS state,
            if(v.since > toDateTime64(0, 6, 'UTC'), v.since, v.ts) AS begins,
            count() OVER later AS followed,
            if(followed > 0,
                min(begins) OVER later,
                least(now64(6, 'UTC'), greatest(seen.last_seen, v.ts) + toIntervalSecond(1200))) AS ends
        FROM verdicts AS v
        LEFT JOIN
        (
            SELECT tenant, target, vantage, max(ts) AS last_seen FROM probe_runs GROUP BY tenant, target, vantage
        ) AS seen ON seen.tenant = v.tenant AND seen.target = v.target AND seen.vantage = v.node
        WINDOW later AS (
            PARTITION BY v.tenant, v.target, v.service, v.node
            ORDER BY v.ts DESC, v.event_id DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ),
    days AS
    (
        SELECT
            tenant, target, service, node, state,
            toDate(arrayJoin(range(toUInt32(toDate(begins)), toUInt32(toDate(ends)) + 1))) AS day,
            greatest(0, toUnixTimestamp64Micro(least(ends, toDateTime64(day + 1, 6, 'UTC')))
                - toUnixTimestamp64Micro(greatest(begins, toDateTime64(day, 6, 'UTC')))) AS micros
        FROM spans
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
    if(known = 0 OR 100 * known < 95 * counted, NULL, intDiv(100000 * best.1, known) / 1000) AS availability,
    if(counted = 0, NULL, intDiv(100000 * best.1, counted) / 1000) AS availability_lower,
    if(counted = 0, NULL, intDiv(100000 * (best.1 + unknown), counted) / 1000) AS availability_upper,
    if(counted = 0, NULL, intDiv(100000 * known, counted) / 1000) AS coverage
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
