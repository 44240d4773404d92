#!/usr/bin/env python3
"""A Postfix log for benchmarks: python3 benches/mail_log.py LINES [SEED] [--rfc3339] [--rate N] > mail.log

A day of a mail host, written in the order of time: mail that comes in and goes to mailboxes (LMTP), mail of users that
goes out to the providers of the world, retries of what was deferred, bounces, refusals at the door, log-ins that fail.
The texts are those of real programs (Postfix 3.7, Dovecot 2.3, Gmail, Microsoft, Yahoo, Exim), and what is random in
life is random here: queue ids, Message-IDs, names, sizes, delays. Times begin a day ago; N transactions a second
(default 60) say how much a day holds. On standard error: how many lines and attempts to deliver there are.
"""
import argparse
import base64
import heapq
import random
import struct
import sys
import time

options = argparse.ArgumentParser()
options.add_argument("lines", type=int)
options.add_argument("seed", type=int, nargs="?", default=1)
options.add_argument("--rfc3339", action="store_true", help="times as today's rsyslog writes them, with microseconds")
options.add_argument("--rate", type=float, default=60.0, help="transactions a second")
options = options.parse_args()

rng = random.Random(options.seed)
rand, pick, bits, below = rng.random, rng.choice, rng.getrandbits, rng.randrange
BASE52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"
FIRST = "anna ben carla dirk eva finn greta hugo ines jan kim lars mia nils ole pia ruth sven tom uma vera wim yan zoe".split()
LAST = "adler berg clement dorn ernst falk graf hahn imhof jung koch lang moser nagel otto pohl rapp sahl thoma ulm".split()
WORDS = "acme news shop bank uni dev data post media sport travel tech".split()
OWN = ["example.test"] * 8 + ["shop.example.test", "lists.example.test"]
USERS = [f"{first}.{last}" for first in FIRST for last in LAST]
SMALL = [f"{word}{number}.{top}" for word in WORDS for number in range(400) for top in ("test", "example")]
# Who has the mailboxes of the world: domain, exchangers, address block.
GREAT = [("gmail.com", "gmail-smtp-in.l.google.com", "142.250.27.27")] * 8 + \
    [("outlook.com", "outlook-com.olc.protection.outlook.com", "52.101.9.4")] * 4 + \
    [("yahoo.com", "mta5.am0.yahoodns.net", "67.195.204.77")] * 2 + [("icloud.com", "mx01.mail.icloud.com", "17.57.155.25")]
TLS13 = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature RSA-PSS " \
    "(2048 bits) server-digest SHA256"
CIPHERS = [TLS13] * 6 + ["TLSv1.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)"]

pending, entered, written, attempts, second, stamp = [], 0, 0, 0, -1, ""
begin = int(time.time()) // 3600 * 3600 - 86400


def at(when, service, process, text):
    global entered
    entered += 1
    heapq.heappush(pending, (when, entered, f" mx1 postfix/{service}[{process}]: {text}\n"))


def write(until):
    """Writes what has happened up to this time."""
    global written, second, stamp
    while pending and pending[0][0] <= until and written < options.lines:
        when, _, text = heapq.heappop(pending)
        if int(when) != second:
            second = int(when)
            clock = time.gmtime(begin + second)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S" if options.rfc3339 else "%b %e %H:%M:%S", clock)
        micros = f".{int(when % 1 * 1e6):06d}+00:00" if options.rfc3339 else ""
        sys.stdout.write(stamp + micros + text)
        written += 1


def text_of(alphabet, count):
    return "".join(rng.choices(alphabet, k=count))


def base(number, digits, width=0):
    text = ""
    while number or len(text) < width:
        number, digit = divmod(number, len(digits))
        text = digits[digit] + text
    return text


def queue_id(when, inodes=0x1C0000, long=False):
    """Microseconds and inode in hexadecimal; the long form has the seconds before them and is in base 52 and 51. A file
    system gives the inodes of messages that have left to those that come."""
    micros, inode = below(10 ** 6), inodes + bits(14)
    if long:
        return f"{base(int(begin + when), BASE52)}{base(micros, BASE52, 4)}z{base(inode, BASE52[:51])}"
    return f"{micros:05X}{inode:X}"


def session_id(when, process):
    """Dovecot's: nanoseconds, seconds, process and a hash of the host, in base64."""
    raw = struct.pack("<IIII", below(10 ** 6) * 1000, int(begin + when), process, 0x0DE738B6)
    return base64.b64encode(raw).decode().rstrip("=")


def address():
    if rand() < 0.1:
        return f"2001:db8:{bits(16):x}:{bits(16):x}::{bits(8) + 1:x}"
    return f"{pick((192, 198, 203, 45, 5, 185, 103))}.{bits(8)}.{bits(8)}.{below(254) + 1}"


HOSTS = [(f"mail{below(9)}.{domain}", address(), domain) for domain in SMALL for _ in range(2)]


def client():
    if rand() < 0.12:
        ip = address()
        return "unknown", ip, pick(SMALL)
    return HOSTS[min(int(rng.expovariate(1 / 1500)), len(HOSTS) - 1)]


def message_id(domain):
    kind = rand()
    if kind < 0.15:
        return f"CA{text_of(BASE64, 24)}@mail.gmail.com"
    if kind < 0.3:
        return f"{bits(32):08x}-{bits(16):04x}-{bits(16):04x}-{bits(48):012x}@{domain}"
    if kind < 0.6:
        return f"{bits(40):x}.{bits(30)}@{domain}"
    if kind < 0.8:
        return f"{time.strftime('%Y%m%d%H%M%S', time.gmtime(begin + second))}.{bits(40):X}@mail.{domain}"
    return f"{bits(60):x}@{domain}"


def delays(mean):
    parts = [rng.expovariate(1 / (mean * share)) for share in (0.3, 0.02, 0.3, 0.4)]
    # Postfix shows two digits, and nothing below 10 ms.
    shown = [f"{round(part, 2):g}" if part < 1 else f"{part:.2g}" if part < 99 else f"{part:.0f}" for part in (sum(parts), *parts)]
    return f"delay={shown[0]}, delays={'/'.join(shown[1:])}"


def local(when, queue, rcpt, mean=0.2):
    global attempts
    attempts += 1
    process = below(300) + 60000
    at(when, "lmtp", below(3000) + 20000, f"{queue}: to=<{rcpt}>, relay=mx1.example.test[private/dovecot-lmtp], {delays(mean)}, "
       f"dsn=2.0.0, status=sent (250 2.0.0 <{rcpt}> {session_id(when, process)} Saved)")


def outbound(when, message, rcpt, route, tries=0):
    """One attempt; what is deferred is tried again."""
    global attempts
    attempts += 1
    queue, identity, sender, size = message
    domain, mx, ip = route
    process, kind = below(400) + 30000, rand()
    host = f"{mx}[{ip}]"
    if tries:
        at(when - 0.3, "qmgr", 1201, f"{queue}: from=<{sender}>, size={size}, nrcpt=1 (queue active)")
    again = None
    if kind < 0.03:
        at(when, "smtp", process, f"connect to {host}:25: Connection timed out")
        again = f"relay=none, {delays(30)}, dsn=4.4.1, status=deferred (connect to {host}:25: Connection timed out)"
    elif kind < 0.07:
        again = f"relay={host}:25, {delays(1)}, dsn=4.7.1, status=deferred (host {host} said: 450 4.7.1 <{rcpt}>: Recipient " \
            f"address rejected: Greylisted, see http://postgrey.example/help/{domain}.html (in reply to RCPT TO command))"
    elif kind < 0.08:
        again = f"relay={host}:25, {delays(2)}, dsn=4.7.0, status=deferred (host {host} said: 421 4.7.0 [TSS04] Messages from " \
            "192.0.2.25 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1 (in reply to MAIL FROM command))"
    if again:
        at(when + 0.1, "smtp", process, f"{queue}: to=<{rcpt}>, {again}")
        if tries < 4:
            outbound(when + 300 * 2 ** tries, message, rcpt, route, tries + 1)
        else:
            at(when + 1, "qmgr", 1201, f"{queue}: from=<{sender}>, status=expired, returned to sender")
            at(when + 2, "qmgr", 1201, f"{queue}: removed")
        return
    if rand() < 0.5:
        trust = pick(("Trusted", "Untrusted", "Verified", "Anonymous"))
        at(when, "smtp", process, f"{trust} TLS connection established to {host}:25: {pick(CIPHERS)}")
    to = f"{queue}: to=<{rcpt}>, relay={host}:25, {delays(1)}, "
    if kind < 0.11:
        said = f"host {host} said: 550-5.1.1 The email account that you tried to reach does not exist. Please try 550-5.1.1 " \
            "double-checking the recipient's email address for typos or 550 5.1.1 unnecessary spaces. For more information, go " \
            f"to 550 5.1.1  https://support.google.com/mail/?p=NoSuchUser {text_of(LOWER, 12)}si{below(10**6)}edb.{below(999)} " \
            "- gsmtp (in reply to RCPT TO command)" if domain == "gmail.com" else \
            f"host {host} said: 550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown (in reply to RCPT TO command)"
        at(when + 0.5, "smtp", process, f"{to}dsn=5.1.1, status=bounced ({said})")
        bounce = queue_id(when)
        at(when + 0.51, "cleanup", below(400) + 8000, f"{bounce}: message-id=<{time.strftime('%Y%m%d%H%M%S', time.gmtime(begin + when))}."
           f"{bounce}@mx1.example.test>")
        at(when + 0.52, "bounce", below(99) + 9000, f"{queue}: sender non-delivery notification: {bounce}")
        at(when + 0.53, "qmgr", 1201, f"{bounce}: from=<>, size={below(7000) + 2000}, nrcpt=1 (queue active)")
        local(when + 0.6, bounce, sender)
        at(when + 0.65, "qmgr", 1201, f"{bounce}: removed")
    else:
        if domain == "gmail.com":
            said = f"250 2.0.0 OK  {int(begin + when)} {text_of(LOWER, 12)}si{below(10**7)}edb.{below(999)} - gsmtp"
        elif domain == "outlook.com":
            said = f"250 2.6.0 <{identity}> [InternalId={bits(44)}, Hostname=DB{below(9)}PR0{below(9)}MB{below(9999)}" \
                f".eurprd0{below(9)}.prod.outlook.com] {below(90000)} bytes in 0.{below(900):03d}, {below(300)}.{below(999)} " \
                "KB/sec Queued mail for delivery -> 250 2.1.5"
        elif domain == "yahoo.com":
            said = "250 ok dirdel"
        elif len(domain) % 3 == 0:
            said = f"250 OK id={base(int(begin + when), BASE62)}-{base(bits(48), BASE62, 11)}-{base(bits(12), BASE62, 4)}"
        else:
            said = f"250 2.0.0 Ok: queued as {queue_id(when, 0x40000 + len(domain) * 0x5000, len(domain) % 2 == 0)}"
        at(when + 0.5, "smtp", process, f"{to}dsn=2.0.0, status=sent ({said})")
    at(when + 0.7, "qmgr", 1201, f"{queue}: removed")


def comes_in(when):
    host, ip, domain = client()
    process, queue, tls = below(3000) + 40000, queue_id(when), rand() < 0.85
    at(when, "smtpd", process, f"connect from {host}[{ip}]")
    if tls:
        at(when + 0.1, "smtpd", process, f"Anonymous TLS connection established from {host}[{ip}]: {pick(CIPHERS)}")
    count = 1 if rand() < 0.9 else below(4) + 2
    sender = f"{pick(('bounce', 'news', 'no-reply', 'kim', 'pat', 'info'))}{below(900)}@{domain}"
    at(when + 0.2, "smtpd", process, f"{queue}: client={host}[{ip}]")
    at(when + 0.25, "cleanup", below(400) + 8000, f"{queue}: message-id=<{message_id(domain)}>")
    at(when + 0.3, "qmgr", 1201, f"{queue}: from=<{sender}>, size={int(rng.lognormvariate(9.5, 1.4))}, nrcpt={count} (queue active)")
    start = "starttls=1 " if tls else ""
    at(when + 0.35, "smtpd", process, f"disconnect from {host}[{ip}] ehlo={1 + tls} {start}mail=1 rcpt={count} data=1 quit=1 "
       f"commands={4 + count + 2 * tls}")
    for number in range(count):
        local(when + 0.4 + number * 0.01, queue, f"{pick(USERS)}@{pick(OWN)}")
    at(when + 0.6, "qmgr", 1201, f"{queue}: removed")


def goes_out(when):
    ip, process, queue, identity = address(), below(300) + 50000, queue_id(when), message_id(OWN[0])
    sender, host = f"{pick(USERS)}@{pick(OWN)}", f"dyn-{below(9999)}.isp.test"
    at(when, "submission/smtpd", process, f"connect from {host}[{ip}]")
    at(when + 0.1, "submission/smtpd", process, f"Anonymous TLS connection established from {host}[{ip}]: {TLS13}")
    at(when + 0.2, "submission/smtpd", process, f"{queue}: client={host}[{ip}], sasl_method=PLAIN, sasl_username={sender}")
    at(when + 0.25, "cleanup", below(400) + 8000, f"{queue}: message-id=<{identity}>")
    size = int(rng.lognormvariate(9, 1.5))
    at(when + 0.3, "qmgr", 1201, f"{queue}: from=<{sender}>, size={size}, nrcpt=1 (queue active)")
    at(when + 0.35, "submission/smtpd", process, f"disconnect from {host}[{ip}] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 "
       "quit=1 commands=8")
    if rand() < 0.6:
        route = pick(GREAT)
    else:
        number = min(int(rng.expovariate(1 / 800)), len(SMALL) - 1)
        route = (SMALL[number], f"mx.{SMALL[number]}", f"203.0.{number >> 8}.{number & 255}")
    outbound(when + 0.5, (queue, identity, sender, size), f"{pick(FIRST)}{below(5000)}@{route[0]}", route)


def refused(when):
    host, ip, domain = client()
    process, rcpt = below(3000) + 40000, f"{pick(USERS)}@{pick(OWN)}"
    tail = f"from=<x{below(9999)}@{domain}> to=<{rcpt}> proto=ESMTP helo=<{host if host != 'unknown' else domain}>"
    said = pick((
        f"554 5.7.1 Service unavailable; Client host [{ip}] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/{ip}",
        f"550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown in virtual mailbox table",
        f"554 5.7.1 <victim@other.test>: Relay access denied",
        f"450 4.7.25 Client host rejected: cannot find your hostname, [{ip}]",
        f"504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname"))
    at(when, "smtpd", process, f"connect from {host}[{ip}]")
    at(when + 0.2, "smtpd", process, f"NOQUEUE: reject: RCPT from {host}[{ip}]: {said}; {tail}")
    at(when + 0.3, "smtpd", process, f"disconnect from {host}[{ip}] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4")


def noise(when):
    host, ip, _ = client()
    process = below(3000) + 40000
    at(when, "smtpd", process, f"connect from {host}[{ip}]")
    if rand() < 0.5:
        user = pick(("admin", "info", "test", pick(USERS)))
        at(when + 0.5, "smtpd", process, f"warning: {host}[{ip}]: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username={user}")
        at(when + 0.6, "smtpd", process, f"disconnect from {host}[{ip}] ehlo=1 auth=0/1 commands=1/2")
    else:
        at(when + 0.2, "smtpd", process, f"lost connection after {pick(('CONNECT', 'EHLO', 'AUTH'))} from {host}[{ip}]")
        at(when + 0.3, "smtpd", process, f"disconnect from {host}[{ip}] commands=0/0")


kinds = [comes_in] * 40 + [goes_out] * 35 + [refused] * 15 + [noise] * 10
now = 0.0
while written < options.lines:
    now += rng.expovariate(options.rate)
    pick(kinds)(now)
    write(now - 1)
print(f"{written} lines, {attempts} attempts to deliver", file=sys.stderr)
