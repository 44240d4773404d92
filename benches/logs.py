#!/usr/bin/env python3
"""Lines of a Postfix log read per CPU second, beside pflogsumm and mtail: the same file, in turn, the best of three."""
import pathlib
import sys
import tempfile

from measure import SCRATCH, VARDE, best, generate, load, need, table

MTAIL_PROGRAM = "/usr/share/doc/mtail/examples/postfix.mtail"
lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
need("pflogsumm", "pflogsumm")
need("mtail", "mtail")
with tempfile.TemporaryDirectory(prefix="varde-bench.", dir=SCRATCH) as folder:
    log = pathlib.Path(folder, "mail.log")
    lines, size = generate(log, lines)
    varde = [VARDE, "parse", "--dialect", "postfix"]
    ours, json, peer = best(3, [[*varde, "--summary", log], [*varde, log], ["pflogsumm", log]])
    # It takes as long as all others together: once.
    mtail, = best(1, [["mtail", "--one_shot", "--logtostderr", "--progs", MTAIL_PROGRAM, "--logs", log]])
    print(f"{lines} lines, {size / 1e6:.0f} MB, {load()}\n")
    table(("program", "CPU s", "lines per CPU s", "MB of memory", "slower than varde"), *(
        (name, f"{used.cpu:.2f}", f"{lines / used.cpu:,.0f}", f"{used.rss:.0f}", f"{used.cpu / ours.cpu:.1f}")
        for name, used in (
            ("varde parse --summary: a page of figures", ours),
            ("varde parse: every event as JSON", json),
            ("pflogsumm: a page of figures", peer),
            ("mtail: counters of its Postfix program", mtail))))
