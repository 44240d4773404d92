-- title: Pages and time to acknowledge
-- description: How many pages each person got by each channel, and how long until somebody answered.
-- param: since DateTime 30d from when on
-- param: until DateTime 0s until when
-- chart: bar person pages
SELECT p.person AS person, p.channel AS channel, count() AS pages, countIf(p.state = 'acknowledged') AS acknowledged, countIf(p.state = 'failed') AS failed,
    max(p.attempt) AS most_attempts,
    round(quantileIf(0.5)(dateDiff('second', i.opened_at, p.ts), p.state = 'acknowledged')) AS acknowledged_p50_s
FROM pages AS p FINAL
LEFT JOIN (SELECT incident, opened_at FROM incidents FINAL) AS i ON i.incident = p.incident
WHERE p.ts >= {since:DateTime} AND p.ts < {until:DateTime}
GROUP BY person, channel
ORDER BY pages DESC, person, channel
