"""What the benchmarks share: CPU time and memory of processes, a suite of their own, tables of results."""
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
VARDE = os.environ.get("VARDE", str(ROOT / "target/release/varde"))
# Where logs and databases go: they are large.
SCRATCH = os.environ.get("BENCH_DIR", tempfile.gettempdir())


class Used:
    """What one process used: CPU seconds, seconds, MB of memory at its peak."""

    def __init__(self, cpu, wall, rss):
        self.cpu, self.wall, self.rss = cpu, wall, rss


def run(command, **options):
    """Runs a command to its end, its output thrown away unless said otherwise."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
    began = time.monotonic()
    child = subprocess.Popen([str(part) for part in command], **options)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {child.returncode}")
    return Used(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024)


def best(rounds, commands):
    """Runs commands in turn, several rounds; of each the round with the least CPU."""
    found = [None] * len(commands)
    for _ in range(rounds):
        for place, command in enumerate(commands):
            used = run(command)
            if found[place] is None or used.cpu < found[place].cpu:
                found[place] = used
    return found


def cpu_of(pid):
    """CPU seconds that a running process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load():
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def need(program, package):
    if shutil.which(program) is None:
        sys.exit(f"{program} is not installed: apt-get install {package}")


def generate(path, lines, *more):
    """A log of so many lines. Gives its real number of lines and its size."""
    with open(path, "wb") as out:
        run([sys.executable, ROOT / "benches/mail_log.py", lines, *more], stdout=out)
    with open(path, "rb") as log:
        count = sum(chunk.count(b"\n") for chunk in iter(lambda: log.read(1 << 20), b""))
    return count, os.path.getsize(path)


def table(head, *rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


class Suite:
    """An engine and an intake in a folder of their own, on ports of their own, as `varde init` sets them up."""

    def __init__(self, config=""):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="varde-bench.", dir=SCRATCH))
        self.home = self.dir / "suite"
        self.children = {}
        try:
            self.offset = free_offset()
            run([VARDE, "init", "--dir", self.home])
            with open(self.home / "varde.toml", "a") as out:
                out.write(config)
            self.key = (self.home / "secrets/clickhouse.password").read_text().strip()
            self.start("clickhouse")
            self.start("aggregate")
            self.wait()
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.children):
            self.stop(name)
        shutil.rmtree(self.dir, ignore_errors=True)

    def command(self, name, *arguments):
        return [VARDE, name, "--dir", str(self.home), "--port-offset", str(self.offset), *map(str, arguments)]

    def start(self, name, *arguments):
        log = open(self.dir / f"{name}.log", "ab")
        self.children[name] = subprocess.Popen(self.command(name, *arguments), stdout=log, stderr=log)

    def stop(self, name):
        child = self.children.pop(name)
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def kill(self, name):
        """Kills without warning, as the kernel does when memory runs out."""
        child = self.children.pop(name)
        child.kill()
        child.wait()

    def wait(self, seconds=120):
        """Until the intake takes blocks."""
        until = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{8024 + self.offset}/health", timeout=5):
                    return
            except OSError:
                if time.monotonic() > until:
                    sys.exit(f"the intake is not ready after {seconds} s; its words are in {self.dir}/*.log")
                time.sleep(0.1)

    def sql(self, statement, **settings):
        """The answer of one statement, as text."""
        query = urllib.parse.urlencode({"database": "varde", **settings})
        request = urllib.request.Request(f"http://127.0.0.1:{8123 + self.offset}/?{query}", statement.encode())
        request.add_header("X-ClickHouse-User", "varde")
        request.add_header("X-ClickHouse-Key", self.key)
        try:
            with urllib.request.urlopen(request, timeout=900) as answer:
                return answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:500]) from None

    def rows(self, statement):
        """The rows of one statement, as dictionaries."""
        text = self.sql(statement + " FORMAT JSONEachRow", output_format_json_quote_64bit_integers=0)
        return [json.loads(line) for line in text.splitlines()]


def free_offset():
    """A distance by which all ports of the configuration can be moved."""
    for _ in range(100):
        offset = random.randrange(12_000, 50_000)
        try:
            for port in (8123, 8024, 8026):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
            return offset
        except OSError:
            continue
    sys.exit("no free ports")
