#!/usr/bin/env python3
"""A report by domain and hour over many deliveries, and the life of one message when nothing is in any cache.

The engine makes the rows itself, a few million at a time, so that the rollups fill as they do in life: 90 days, 2,000
domains of unequal size, every id different. The report is read through the user of operators, a window of seven days
at another place each time. For the trace the engine is started anew and the kernel forgets its files first.
"""
import os
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

from measure import ROOT, Suite, load, run, table

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000_000
CHUNK = 2_000_000
DAYS = 80
ROUNDS = 60

FILL = """
INSERT INTO deliveries (ts, node, event_id, mta, queue_id, next_queue_id, message_id, sender_user, sender_domain, rcpt_user,
    rcpt_domain, provider, mx_host, mx_ip, attempt, outcome, is_final, smtp_code, enhanced_code, class, response_template,
    response_values, tls_version, size_bytes, delay_total_ms, delay_c_ms, delay_d_ms, protocol)
WITH
    number AS n, cityHash64(n) AS h, least(toUInt64(pow(2000, (h % 100003) / 100003)), 1999) AS domain,
    multiIf(h % 97 < 5, 'deferred', h % 97 < 7, 'bounced', 'delivered') AS became
SELECT
    toDateTime64(today() - {days}, 6, 'UTC') + toIntervalMicrosecond(n * {step}), 'mx1', toUInt128(n), 'postfix',
    hex(toUInt64(n * 7919)), hex(toUInt32(h)), concat(lower(hex(h)), '@d', toString(domain), '.example'),
    concat('u', toString(h % 5003)), 'example.test', concat('r', toString(h % 100019)), concat('d', toString(domain), '.example'),
    if(domain < 20, 'google', ''), concat('mx', toString(domain % 2), '.d', toString(domain), '.example'),
    toIPv6(concat('203.0.113.', toString(domain % 250))), 1, became, became != 'deferred',
    multiIf(became = 'delivered', 250, became = 'deferred', 450, 550),
    multiIf(became = 'delivered', '2.0.0', became = 'deferred', '4.7.1', '5.1.1'),
    multiIf(became = 'delivered', '', became = 'deferred', 'greylisted', 'user_unknown'),
    multiIf(became = 'delivered', '250 2.0.0 Ok: queued as *', 'host *[*] said: 450 4.7.1 <*>: Greylisted'),
    if(became = 'delivered', ['\\x01'], ['\\x03', '\\x04', '\\x05']), 'TLSv1.3', 1000 + h % 90000, h % 3000, h % 300, h % 900, 'smtp'
FROM numbers({start}, {count})
"""


def fill(suite):
    step = DAYS * 86_400_000_000 // ROWS
    began = time.monotonic()
    for start in range(0, ROWS, CHUNK):
        suite.sql(FILL.format(days=DAYS, step=step, start=start, count=min(CHUNK, ROWS - start)), max_threads=2,
                  max_insert_threads=1, max_partitions_per_insert_block=1000)
        if start % (10 * CHUNK) == 0:
            print(f"  {start + CHUNK:,} rows, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    parts = suite.rows("SELECT table, sum(rows) AS n, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = "
                       "'varde' AND table IN ('deliveries', 'deliveries_1h') GROUP BY table ORDER BY table")
    print(f"Filled in {seconds:.0f} s: " + ", ".join(f"{part['table']} {part['n']:,} rows, {part['bytes'] / 1e9:.2f} GB" for part in parts) + "\n")


def report(suite, name, days, back, **params):
    """Seconds that a report takes, as the user of operators."""
    sql = (ROOT / f"aggregator/reports/{name}.sql").read_text()
    for kind, default in re.findall(r"^-- param: limit (\S+) (\S+)", sql, re.M):
        params.setdefault("limit", default)
    now = int(time.time()) - back * 86_400
    given = {"since": now - days * 86_400, "until": now, **params}
    query = urllib.parse.urlencode({"database": "varde", "default_format": "JSON", **{f"param_{k}": v for k, v in given.items()}})
    request = urllib.request.Request(f"http://127.0.0.1:{8123 + suite.offset}/?{query}", sql.encode())
    request.add_header("X-ClickHouse-User", "sql")
    request.add_header("X-ClickHouse-Key", (suite.home / "secrets/sql.password").read_text().strip())
    began = time.monotonic()
    with urllib.request.urlopen(request) as answer:
        answer.read()
    return time.monotonic() - began


def quantiles(seconds):
    ordered = sorted(seconds)
    return [f"{1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]:.0f}" for share in (0.5, 0.95)]


def forget(folder):
    """The kernel drops what it holds of these files."""
    os.sync()
    for file in pathlib.Path(folder).rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def cold(suite, command):
    suite.stop("clickhouse")
    forget(suite.home)
    suite.start("clickhouse")
    while True:
        try:
            suite.sql("SELECT 1")
            break
        except (OSError, RuntimeError):
            time.sleep(0.1)
    return run(command).wall


with Suite() as suite:
    suite.sql("SYSTEM STOP TTL MERGES deliveries")
    fill(suite)
    asked = (
        ("deliverability-by-hour, 24 h, all domains", "deliverability-by-hour", 1, {"domain": ""}),
        ("deliverability-by-hour, 7 d, all domains", "deliverability-by-hour", 7, {"domain": ""}),
        ("deliverability-by-hour, 30 d, one domain", "deliverability-by-hour", 30, {"domain": "d17.example"}),
        ("deliverability, 7 d, with percentiles and unique messages", "deliverability", 7, {}),
    )
    rows = [(title, *quantiles([report(suite, name, days, back % 60, **params) for back in range(ROUNDS)]))
            for title, name, days, params in asked]
    print(f"{ROWS:,} rows in `deliveries`, {ROUNDS} times each, {load()}\n")
    table(("report", "median ms", "p95 ms"), *rows)
    print("`varde trace` with a new engine and nothing in the kernel's cache, the start of the program in it\n")
    found = []
    for number in range(7):
        row = ROWS * (2 * number + 1) // 14
        identity, = suite.rows(f"SELECT queue_id, message_id, trace_id FROM deliveries WHERE event_id = {row}")
        found.append(identity)
    rows = []
    for kind in ("queue_id", "message_id", "trace_id"):
        rows.append((f"by {kind}", *quantiles([cold(suite, suite.command("trace", row[kind])) for row in found])))
    table(("varde trace", "median ms", "p95 ms"), *rows)
