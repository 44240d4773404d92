"""Asks a blackbox_exporter for SMTP probes, 16 at a time, and says how many it made and what they took."""
import http.client
import os
import sys
import threading
import time

exporter, target, seconds, pid = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
good = [0] * 16
bad = [0] * 16
end = time.monotonic() + seconds


def cpu():
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask(place):
    connection = http.client.HTTPConnection(exporter, timeout=20)
    while time.monotonic() < end:
        connection.request("GET", f"/probe?target={target}&module=smtp_starttls")
        if b"\nprobe_success 1" in connection.getresponse().read():
            good[place] += 1
        else:
            bad[place] += 1


before = cpu()
threads = [threading.Thread(target=ask, args=(place,)) for place in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
used = cpu() - before
peak = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM")).split()[1]
total = max(1, sum(good) + sum(bad))
print(
    f"blackbox_exporter: {sum(good)} good and {sum(bad)} failed probes in {seconds:.0f} s, "
    f"{sum(good) / seconds:.0f} a second, {used * 1e3 / total:.2f} ms of CPU each, peak {int(peak) / 1024:.0f} MB"
)
