#!/usr/bin/env python3
"""kill -9 of shipper, aggregator and engine at random instants while lines flow: what is lost, what is doubled.

`varde node` follows a log that grows; `varde import` reads older logs beside it. One process after the other is
killed without warning, at an instant and in an order that the seed decides, and started again at once or a little
later. At the end every line must be in ClickHouse once, and every rollup must agree with its table.
"""
import argparse
import json
import random
import subprocess
import sys
import threading
import time

from measure import VARDE, Suite, generate, load, table

options = argparse.ArgumentParser()
options.add_argument("kills", type=int, nargs="?", default=300)
options.add_argument("--seed", type=int, default=random.randrange(1 << 32))
options.add_argument("--lines", type=int, default=400, help="lines a second that are written")
options = options.parse_args()

IMPORT_LINES = 60_000
TABLES = ("receptions", "deliveries", "sessions", "auth_events")
ROLLUPS = (("deliveries", "deliveries_1h", "attempts"), ("receptions", "receptions_1h", "receptions"))
IDS = " UNION ALL ".join(f"""
    SELECT toDate(ts, 'UTC') AS day, toUInt32(cityHash64(arrayJoin(arrayFilter(name -> notEmpty(name), [{names},
        if(empty(message_id), '', lower(hex(substring(SHA256(message_id), 1, 8))))])))) AS id FROM {raw}
""" for raw, names in (("receptions", "queue_id, trace_given"), ("deliveries", "queue_id, next_queue_id, trace_given")))
CONFIG = """
[[node.log]]
path = "{}"
dialect = "postfix"
"""


class Writer(threading.Thread):
    """Writes a made log line by line, as a mail host does."""

    def __init__(self, source, path, pace):
        super().__init__(daemon=True)
        self.source, self.path, self.pace, self.stop, self.written = source, path, pace, threading.Event(), 0

    def run(self):
        with open(self.source, "rb") as source, open(self.path, "ab", buffering=0) as log:
            while not self.stop.wait(0.05):
                lines = [line for line in (source.readline() for _ in range(self.pace // 20)) if line]
                if not lines:
                    return
                # Sometimes a line is written in two parts.
                text = b"".join(lines)
                log.write(text[:-7])
                log.write(text[-7:])
                self.written += len(lines)


def events_of(log):
    """How many rows of each table a log makes when nobody is killed."""
    counts = dict.fromkeys(TABLES, 0)
    parsed = subprocess.Popen([VARDE, "parse", "--dialect", "postfix", log], stdout=subprocess.PIPE)
    for line in parsed.stdout:
        counts[json.loads(line)["table"]] += 1
    return counts


def main():
    rng = random.Random(options.seed)
    print(f"{options.kills} kills, seed {options.seed}, {load()}", flush=True)
    with Suite() as suite:
        made, log = suite.dir / "made.log", suite.dir / "mail.log"
        generate(made, options.lines * (options.kills * 2 + 60), options.seed % 1000)
        log.touch()
        with open(suite.home / "varde.toml", "a") as config:
            config.write(CONFIG.format(log))
        suite.start("node")
        writer = Writer(made, log, options.lines)
        writer.start()
        imported, killed = [], dict.fromkeys(("clickhouse", "aggregate", "node", "import"), 0)
        for kill in range(options.kills):
            if "import" not in suite.children or suite.children["import"].poll() is not None:
                # What was read to its end is followed by the next; what was killed is read again.
                if "import" not in suite.children or suite.children.pop("import").returncode == 0:
                    imported.append(suite.dir / f"old-{len(imported)}.log")
                    generate(imported[-1], IMPORT_LINES, 5_000 + len(imported), "--rfc3339")
                suite.start("import", "--raw", "--dialect", "postfix", imported[-1])
            time.sleep(rng.expovariate(1.0))
            name = rng.choice(list(killed))
            if suite.children[name].poll() is None:
                killed[name] += 1
            suite.kill(name)
            if rng.random() < 0.3:
                time.sleep(rng.random() * 2)
            suite.start(name, *(("--raw", "--dialect", "postfix", imported[-1]) if name == "import" else ()))
        writer.stop.set()
        writer.join()
        suite.wait()
        for log_path in imported:
            if "import" in suite.children:
                suite.children.pop("import").wait()
            suite.start("import", "--raw", "--dialect", "postfix", log_path)
        suite.children.pop("import").wait()
        judge(suite, log, writer.written, imported, killed)


def judge(suite, log, written, imported, killed):
    lines = written + IMPORT_LINES * len(imported)
    print(f"killed: {', '.join(f'{name} {count}' for name, count in killed.items())}; {lines:,} lines", flush=True)
    until = time.monotonic() + 300
    while int(suite.sql("SELECT uniqExact(event_id) FROM raw_lines")) < lines and time.monotonic() < until:
        time.sleep(1)
    # What comes late would come twice.
    time.sleep(3)
    expected = dict.fromkeys(TABLES, 0)
    for path in [log, *imported]:
        for name, count in events_of(path).items():
            expected[name] += count
    rows, failed = [], False
    for name, want in [("raw_lines", lines), *expected.items()]:
        found, = suite.rows(f"SELECT count() AS n, uniqExact(event_id) AS once FROM {name}")
        rows.append((name, f"{want:,}", f"{found['n']:,}", f"{max(0, want - found['once']):,}", f"{found['n'] - found['once']:,}"))
        failed |= found["n"] != want or found["once"] != want
    for raw, rollup, column in ROLLUPS:
        want = int(suite.sql(f"SELECT count() FROM {raw}"))
        found = int(suite.sql(f"SELECT sum({column}) FROM {rollup}"))
        rows.append((rollup, f"{want:,}", f"{found:,}", f"{max(0, want - found):,}", f"{max(0, found - want):,}"))
        failed |= found != want
    want = int(suite.sql(f"SELECT uniqExact(id, day) FROM ({IDS})"))
    found = int(suite.sql("SELECT uniqExact(id, day) FROM id_days"))
    rows.append(("id_days", f"{want:,}", f"{found:,}", f"{max(0, want - found):,}", f"{max(0, found - want):,}"))
    failed |= found != want
    print()
    table(("table", "expected", "found", "lost", "doubled"), *rows)
    if failed:
        sys.exit("rows are lost or doubled, or more than a whole reading makes")


main()
