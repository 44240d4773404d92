#!/usr/bin/env python3
"""From a line to its acknowledged row: CPU of each process, memory of the shipper whatever the backlog, octets on disk.

First `varde import` of a log while engine and intake run. Then `varde node` finds the same log under another name and
with other times, while the intake is away: the backlog goes into the spool, and from there into ClickHouse when the
intake is back. Last, what a row of `deliveries` takes on disk once its parts are merged, column by column.
"""
import pathlib
import sys
import time

from measure import Suite, cpu_of, generate, load, run, table

lines = int(sys.argv[1]) if len(sys.argv) > 1 else 6_600_000


def high_water(pid):
    """MB of memory of a running process at its peak."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def importing(suite, log, lines, size):
    pids = {name: child.pid for name, child in suite.children.items()}
    before = {name: cpu_of(pid) for name, pid in pids.items()}
    used = run(suite.command("import", "--dialect", "postfix", log))
    cpu = {name: cpu_of(pid) - before[name] for name, pid in pids.items()}
    ours = used.cpu + cpu["aggregate"]
    print(f"`varde import` of {lines:,} lines ({size / 1e6:,.0f} MB), {load()}: {used.wall:.1f} s, "
          f"{lines / used.wall:,.0f} lines/s\n")
    table(("process", "CPU s", "lines per CPU s", "MB of memory"), *(
        (name, f"{seconds:.2f}", f"{lines / seconds:,.0f}", f"{rss:.0f}") for name, seconds, rss in (
            ("varde import: read, parse, seal, ship", used.cpu, used.rss),
            ("varde aggregate: check, insert", cpu["aggregate"], high_water(pids["aggregate"])),
            ("both", ours, used.rss + high_water(pids["aggregate"])),
            ("the engine", cpu["clickhouse"], high_water(pids["clickhouse"])))))


def backlog(suite, lines, size):
    """The node reads and seals while nobody takes anything, and ships when somebody does."""
    spool = suite.home / "spool"
    suite.stop("aggregate")
    known = int(suite.sql("SELECT count() FROM sessions"))
    began = time.monotonic()
    suite.start("node")
    node = suite.children["node"].pid
    quiet, last = time.monotonic(), -1.0
    while time.monotonic() - quiet < 5:
        time.sleep(0.5)
        now = cpu_of(node)
        if now - last > 0.1:
            quiet, last = time.monotonic(), now
    sealed, cpu = quiet - began, cpu_of(node)
    held, reading = size_of(spool), high_water(node)
    began = time.monotonic()
    suite.start("aggregate")
    while any(spool.rglob("*.segment")):
        time.sleep(0.2)
    shipped = time.monotonic() - began
    added = int(suite.sql("SELECT count() FROM sessions")) - known
    print(f"`varde node` with the intake away, then back: a backlog of {lines:,} lines ({size / 1e6:,.0f} MB), {load()}; "
          f"{added:,} sessions came from it\n")
    table(("", "s", "lines/s", "CPU s of the node", "MB of memory of the node"),
          ("read, parsed and sealed in the spool", f"{sealed:.0f}", f"{lines / sealed:,.0f}", f"{cpu:.1f}", f"{reading:.0f}"),
          ("shipped once the intake was back", f"{shipped:.0f}", f"{lines / shipped:,.0f}", f"{cpu_of(node) - cpu:.1f}",
           f"{high_water(node):.0f}"))
    print(f"The spool held {held / 1e6:,.0f} MB, {held / lines:.0f} octets a line. At the rate of this log "
          f"(60 transactions, about 480 lines a second) a day is caught up with in "
          f"{86_400 * 480 * (sealed + shipped) / lines / 60:.0f} min.\n")
    suite.stop("node")


def disk(suite):
    for name in ("deliveries", "id_days"):
        suite.sql(f"OPTIMIZE TABLE {name} FINAL SETTINGS optimize_skip_merged_partitions = 1")
    sizes = suite.rows("SELECT table, sum(rows) AS n, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts WHERE active "
                       "AND database = 'varde' AND table IN ('deliveries', 'receptions', 'id_days') GROUP BY table")
    size = {row["table"]: row for row in sizes}
    whole, ids = size["deliveries"], size["id_days"]
    columns = suite.rows("SELECT column, sum(column_data_compressed_bytes) AS bytes FROM system.parts_columns WHERE active AND "
                         "database = 'varde' AND table = 'deliveries' GROUP BY column ORDER BY bytes DESC, column LIMIT 18")
    n = whole["n"]
    print(f"`deliveries` on disk: {n:,} rows in {whole['parts']} merged parts, **{whole['bytes'] / n:.1f} octets a row**\n")
    table(("column", "octets a row"), *((column["column"], f"{column['bytes'] / n:.2f}") for column in columns))
    print(f"`id_days`, by which they and {size['receptions']['n']:,} rows of `receptions` are found: {ids['n']:,} rows, "
          f"{ids['bytes'] / ids['n']:.2f} octets each, {ids['bytes'] / n:.1f} a delivery.\n")


CONFIG = """
[[node.log]]
path = "{}"
dialect = "postfix"
raw = false
"""

with Suite() as suite:
    log = suite.dir / "mail.log"
    lines, size = generate(log, lines)
    importing(suite, log, lines, size)
    disk(suite)
    log.unlink()
    followed = suite.dir / "other.log"
    with open(suite.home / "varde.toml", "a") as config:
        config.write(CONFIG.format(followed))
    lines, size = generate(followed, lines, 2, "--rfc3339")
    backlog(suite, lines, size)
