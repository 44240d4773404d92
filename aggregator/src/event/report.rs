//! Reports that others send about our mail, and what the world says of our domains.

use super::{Address, Time, row};

row! {
    /// One record of a DMARC aggregate report (RFC 7489 appendix C).
    DmarcRow => "dmarc_rows" {
        /// The domain that the report is about.
        domain: String,
        /// Who sent it.
        organisation: String,
        /// The report's identity.
        report_id: String,
        /// The begin of its period.
        begin: Option<Time>,
        /// The end of its period.
        end: Option<Time>,
        /// The record's place in the report, from 0.
        row: u32,
        /// The source of the messages.
        source_ip: Option<Address>,
        /// How many messages.
        count: u64,
        /// What was done: `none`, `quarantine`, `reject`.
        disposition: String,
        /// Aligned DKIM result.
        dkim: String,
        /// Aligned SPF result.
        spf: String,
        /// Domain in the From field.
        header_from: String,
        /// Domain of the reverse-path.
        envelope_from: String,
        /// The domain that SPF checked.
        spf_domain: String,
        /// The domain that DKIM checked.
        dkim_domain: String,
        /// The selector that DKIM checked.
        dkim_selector: String,
        /// Why the policy was overridden.
        override_reason: String,
        /// The published policy, in the tags of its record: `p=reject; sp=none; pct=100`.
        policy: String,
        /// Domain of the recipient, where the report tells it.
        envelope_to: String,
        /// What DKIM itself said, aligned or not: `pass`, `fail` … (RFC 8601 section 2.7.1).
        dkim_result: String,
        /// What SPF itself said, aligned or not (RFC 8601 section 2.7.2).
        spf_result: String,
    }
}

row! {
    /// One policy or failure of a TLS report (RFC 8460).
    TlsRptRow => "tlsrpt_rows" {
        /// The domain.
        domain: String,
        /// Who sent it.
        organisation: String,
        /// The report's identity.
        report_id: String,
        /// The begin of its period.
        begin: Option<Time>,
        /// The end of its period.
        end: Option<Time>,
        /// Its place in the report, from 0.
        row: u32,
        /// `sts`, `tlsa`, `no-policy-found`.
        policy_type: String,
        /// Sessions that succeeded.
        successful: u64,
        /// Sessions that failed. Those of a policy that its failures explain stand in the rows of the failures.
        failed: u64,
        /// Result type (RFC 8460 section 4.3).
        result_type: String,
        /// The sending address.
        sending_ip: Option<Address>,
        /// The receiving host.
        mx_host: String,
        /// The failure's reason code.
        reason: String,
    }
}

row! {
    /// A complaint of a feedback loop (RFC 5965).
    Complaint => "complaints" {
        /// The domain that is complained about.
        domain: String,
        /// Who sent it.
        organisation: String,
        /// The report's identity.
        report_id: String,
        /// `abuse`, `fraud`, `virus` …
        feedback_type: String,
        /// The source of the message.
        source_ip: Option<Address>,
        /// The original Message-ID.
        message_id: String,
        /// Local part of the original sender.
        sender_user: String,
        /// Domain of the original recipient.
        rcpt_domain: String,
        /// When the original arrived.
        arrived_at: Option<Time>,
    }
}

row! {
    /// An address or a domain found on a blocklist.
    BlocklistHit => "blocklist_hits" {
        /// What was looked up.
        subject: String,
        /// The list.
        list: String,
        /// Its answer, `127.0.0.2`.
        answer: String,
        /// Its reason, from the TXT record.
        reason: String,
    }
}

row! {
    /// One check of a domain's posture.
    PostureCheck => "posture_checks" {
        /// The domain.
        domain: String,
        /// The check's name.
        check: String,
        /// `pass`, `warn`, `fail`.
        result: String,
        /// What was found.
        evidence: String,
        /// How to mend it.
        remedy: String,
    }
}

row! {
    /// A check of a domain's posture that came out otherwise than the last time it was looked at.
    PostureChange => "posture_changes" {
        /// The domain.
        domain: String,
        /// The check's name.
        check: String,
        /// What it was: `pass`, `warn`, `fail`.
        previous: String,
        /// What it is.
        result: String,
        /// What was found.
        evidence: String,
        /// How to mend it; empty when it passes.
        remedy: String,
    }
}
