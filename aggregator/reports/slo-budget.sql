-- title: Error budget
-- description: How much of the budget of its objective each service has used, and what is left of it.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- param: objective Float64 99.9 the objective in percent of services that have none of their own
-- param: objectives Map(String,Float64) {} the objectives in percent of services, by target/service; the configured ones
-- chart: bar service budget_used_percent
SELECT target, service, round(sum(a.up_s)) AS up_s, round(sum(a.down_s)) AS down_s, round(sum(a.unknown_s)) AS unknown_s,
    floor(100 * sum(a.up_s) / nullIf(sum(a.up_s) + sum(a.down_s), 0), 3) AS availability,
    if(mapContains({objectives:Map(String,Float64)}, concat(target, '/', service)),
        {objectives:Map(String,Float64)}[concat(target, '/', service)], {objective:Float64}) AS objective_percent,
    round((sum(a.up_s) + sum(a.down_s)) * (100 - objective_percent) / 100) AS budget_s,
    budget_s - round(sum(a.down_s)) AS budget_left_s,
    round(100 * sum(a.down_s) / nullIf(budget_s, 0), 1) AS budget_used_percent
FROM availability AS a
WHERE day >= toDate({since:DateTime}) AND day <= toDate({until:DateTime})
GROUP BY target, service
ORDER BY budget_used_percent DESC, target, service
