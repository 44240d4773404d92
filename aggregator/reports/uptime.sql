-- title: Uptime by service and day
-- description: How long each service was up, down and unknown each day (UTC), and what follows for its availability.
-- param: since DateTime 7d from when on
-- param: until DateTime 0s until when
-- chart: heatmap service day availability
SELECT
    target,
    service,
    day,
    round(up_s) AS up_s,
    round(down_s) AS down_s,
    round(unknown_s) AS unknown_s,
    round(maintenance_s) AS maintenance_s,
    availability,
    availability_lower,
    availability_upper,
    coverage
FROM availability
WHERE day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime})
ORDER BY target, service, day
