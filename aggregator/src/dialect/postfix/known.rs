//! Lines that make no event by design.

use super::Line;

/// Whether a syslog tag is one of Postfix: `postfix/smtpd`, `postfix-out/smtp`, and the few without an instance.
pub fn is_agent(instance: &str, agent: &str) -> bool {
    match agent {
        "smtpd"
        | "cleanup"
        | "pickup"
        | "qmgr"
        | "smtp"
        | "lmtp"
        | "local"
        | "virtual"
        | "pipe"
        | "error"
        | "bounce"
        | "nqmgr"
        | "oqmgr"
        | "relay"
        | "retry"
        | "discard"
        | "defer"
        | "trace"
        | "postscreen"
        | "dnsblog"
        | "tlsproxy"
        | "tlsmgr"
        | "anvil"
        | "postsuper"
        | "scache"
        | "trivial-rewrite"
        | "rewrite"
        | "verify"
        | "flush"
        | "master"
        | "proxymap"
        | "proxywrite"
        | "showq"
        | "spawn"
        | "sendmail"
        | "postdrop"
        | "postqueue"
        | "postlog"
        | "postlogd"
        | "postmap"
        | "postalias"
        | "postcat"
        | "postkick"
        | "postmulti"
        | "postconf"
        | "postfix"
        | "postfix-wrapper"
        | "postfix-tls-script"
        | "post-install"
        | "qmqpd"
        | "postfix-policyd-spf-perl"
        | "bounced" => !instance.is_empty(),
        "policyd-spf" | "policy-spf" | "postfix-script" => true,
        _ => false,
    }
}

/// What any daemon may say.
const ANY: &[&str] = &[
    "warning: ",
    "fatal: ",
    "error: ",
    "panic: ",
    "table ",
    "statistics: ",
    "rewrite stream disconnect",
    "auto-configured ",
    "using backwards-compatible ",
    "To disable backwards compatibility",
    "daemon started",
    "reload ",
    "terminating on signal",
    "Peer verification: ",
    "certificate verification failed",
    "CA certificate verification failed",
    "cipher mismatch",
    "setting up TLS connection",
    "initializing the server-side TLS engine",
    "initializing the client-side TLS engine",
    "Issuing session ticket",
    "save session ",
    "Restored session",
    "SSL_accept",
    "SSL_connect",
    "SSL3 alert",
    "SSL read",
    "SSL write",
    "TLS SNI ",
    "discarding EHLO keywords",
    "bare <LF>",
    "bare <CR>",
    "> ",
    "< ",
];

/// What one daemon says without a queue id.
const OF_DAEMONS: &[(&str, &[&str])] = &[
    (
        "smtpd",
        &[
            "improper command pipelining",
            "connection limit",
            "SMTPD_",
            "hostname ",
            "filter: ",
            "proxy-accept",
            "too many ",
        ],
    ),
    (
        "smtp",
        &["connect to ", "Host offered STARTTLS", "certificate peer name", "server certificate ", "conversation with "],
    ),
    ("lmtp", &["connect to ", "Host offered STARTTLS", "server certificate ", "conversation with "]),
    (
        "postscreen",
        &[
            "CONNECT from ",
            "PASS ",
            "PREGREET ",
            "HANGUP ",
            "DNSBL ",
            "DISCONNECT ",
            "ALLOWLISTED ",
            "DENYLISTED ",
            "WHITELISTED ",
            "BLACKLISTED ",
            "ALLOWLIST VETO",
            "WHITELIST VETO",
            "BARE NEWLINE ",
            "NON-SMTP COMMAND ",
            "COMMAND ",
            "UNKNOWN COMMAND ",
            "DATA without valid RCPT",
            "BDAT without valid RCPT",
            "entering STRESS mode",
            "leaving STRESS mode",
            "cache ",
            "close database ",
            "entering ",
            "leaving ",
        ],
    ),
    ("dnsblog", &["addr "]),
    (
        "tlsproxy",
        &[
            "CONNECT ",
            "DISCONNECT ",
            "Anonymous TLS ",
            "Trusted TLS ",
            "Untrusted TLS ",
            "Verified TLS ",
            "TLS handshake ",
        ],
    ),
    ("verify", &["cache ", "close database "]),
    (
        "postsuper",
        &["Deleted: ", "Requeued: ", "Placed on hold: ", "Released from hold: ", "Expired: ", "Moved: ", "Renamed "],
    ),
    ("bounce", &["verp "]),
    (
        "postfix-script",
        &[
            "starting the Postfix",
            "stopping the Postfix",
            "refreshing the Postfix",
            "the Postfix mail system is",
            "flushing ",
            "waiting for ",
            "aborting ",
            "set-permissions",
        ],
    ),
    ("tlsmgr", &["read ", "write ", "close database ", "tls_"]),
    ("qmgr", &["mail for ", "incoming ", "recipient limit", "qmgr_"]),
    (
        "policyd-spf",
        &[
            "prepend ",
            "None",
            "Pass",
            "Fail",
            "Softfail",
            "Neutral",
            "Temperror",
            "Permerror",
            "550 ",
            "451 ",
            "450 ",
            "spfcheck",
            "Starting",
            "Action",
            "Skipped",
            "Read ",
            "Found ",
            "Cached ",
        ],
    ),
    ("policy-spf", &["prepend ", "handler ", "Policy action", ": ", "SPF ", "Received-SPF"]),
    ("spawn", &["connect from "]),
];

/// What is said of one message.
const OF_MESSAGES: &[&str] = &[
    "sender non-delivery notification: ",
    "sender delay notification: ",
    "sender delivery status notification: ",
    "postmaster non-delivery notification: ",
    "postmaster delay notification: ",
    "host ",
    "lost connection with ",
    "conversation with ",
    "Cannot start TLS: ",
    "TLS is required",
    "enabling PIX ",
    "breaking line ",
    "uid=",
    "replace: ",
    "filter: ",
    "skipped, ",
    "discarding ",
    "milter ",
    "moved to the ",
    "expiring",
    "message has been ",
    "Server certificate not trusted",
    "Server certificate not verified",
    "warning: ",
    "error: ",
];

/// Whether the line is one that makes no event.
pub fn is_known(line: &Line<'_>) -> bool {
    let text = line.text.strip_prefix("NOQUEUE: ").unwrap_or(line.text);
    let begins = |with: &[&str]| with.iter().any(|start| text.starts_with(start));
    // Since 3.10 smtpd names the message in lines about the session, too.
    if line.id.is_some() && (begins(OF_MESSAGES) || line.agent != "smtpd") {
        return begins(OF_MESSAGES);
    }
    begins(ANY) || OF_DAEMONS.iter().any(|(agent, starts)| *agent == line.agent && begins(starts))
}
