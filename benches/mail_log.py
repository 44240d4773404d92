#!/usr/bin/env python3
"""A Postfix log of about LINES lines for benchmarks: python3 benches/mail_log.py LINES [SEED] > mail.log

Each message is connected, taken in, delivered or not, removed; a tenth is refused; some logins fail.
"""
import random
import sys

lines, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
rng = random.Random(seed)
domains = [f"d{n}.example" for n in range(400)] + ["gmail.com", "outlook.com", "yahoo.com"] * 60
written, second = 0, 0


def out(service, pid, text):
    global written
    day, rest = divmod(second, 86400)
    stamp = f"Nov {1 + day % 20:2d} {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    sys.stdout.write(f"{stamp} mx1 postfix/{service}[{pid}]: {text}\n")
    written += 1


while written < lines:
    second += rng.random() < 0.3
    ip = f"198.51.{rng.randrange(100)}.{rng.randrange(250)}"
    client = rng.choice(["unknown", f"mail{rng.randrange(900)}.{rng.choice(domains)}"]) + f"[{ip}]"
    pid, kind = rng.randrange(1000, 9000), rng.random()
    sender, rcpt = f"u{rng.randrange(5000)}@{rng.choice(domains)}", f"r{rng.randrange(5000)}@{rng.choice(domains)}"
    out("smtpd", pid, f"connect from {client}")
    if kind < 0.1:
        out("smtpd", pid, f"NOQUEUE: reject: RCPT from {client}: 554 5.7.1 Service unavailable; Client host [{ip}] blocked "
            f"using zen.spamhaus.org; from=<{sender}> to=<{rcpt}> proto=ESMTP helo=<{ip}>")
    elif kind < 0.15:
        out("smtpd", pid, f"warning: {client}: SASL LOGIN authentication failed: UGFzc3dvcmQ6")
    else:
        queue_id = f"{rng.getrandbits(40) | 1 << 39:X}"
        out("smtpd", pid, f"{queue_id}: client={client}")
        out("cleanup", pid + 1, f"{queue_id}: message-id=<{rng.getrandbits(64):x}@{rng.choice(domains)}>")
        out("qmgr", 999, f"{queue_id}: from=<{sender}>, size={rng.randrange(900, 90000)}, nrcpt=1 (queue active)")
        to = f"{queue_id}: to=<{rcpt}>, relay=mx.{rcpt.split('@')[1]}[203.0.113.{rng.randrange(250)}]:25, " \
             f"delay={rng.random() * 3:.2f}, delays=0.1/0.01/0.3/{rng.random():.2f}, "
        if kind < 0.9:
            out("smtp", pid + 2, to + f"dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {rng.getrandbits(40):X})")
        elif kind < 0.96:
            out("smtp", pid + 2, to + "dsn=4.2.0, status=deferred (host mx said: 450 4.2.0 Greylisted, try again later "
                "(in reply to RCPT TO command))")
        else:
            out("smtp", pid + 2, to + "dsn=5.1.1, status=bounced (host mx said: 550 5.1.1 user unknown (in reply to RCPT "
                "TO command))")
        out("qmgr", 999, f"{queue_id}: removed")
    out("smtpd", pid, f"disconnect from {client} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5")
