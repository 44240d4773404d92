//! What comes back by mail about single messages: bounces, answers of machines, reports of failed authentication.

use super::{Address, DeliveryOutcome, Time, row};

row! {
    /// One recipient of a bounce: a delivery status notification (RFC 3464) or a free-form one.
    ///
    /// Apart from `deliveries`, because it is told by others, later, and often about an attempt that a log has told
    /// already. `message_id` and `trace_id` join the two.
    Bounce => "bounces" {
        /// The style of the bounce: `dsn`, `qmail`, `exim` …
        style: String,
        /// The bounce's own Message-ID, or a digest of its content.
        report_id: String,
        /// The recipient's place in it, from 0.
        row: u32,
        /// The host that reports (Reporting-MTA).
        reporting_mta: String,
        /// What the sender called the envelope (ENVID, RFC 3461 section 4.4).
        envelope_id: String,
        /// The queue id at the reporting host, where it says so.
        queue_id: String,
        /// The returned message's Message-ID, without angle brackets.
        message_id: String,
        /// The same over all hops of one message.
        trace_id: String,
        /// Local part of the returned message's reverse-path.
        sender_user: String,
        /// Domain of the returned message's reverse-path.
        sender_domain: String,
        /// Local part of the final recipient.
        rcpt_user: String,
        /// Domain of the final recipient.
        rcpt_domain: String,
        /// The address that the sender had written, where it is another one.
        original_rcpt: String,
        /// Who runs the recipient's mail.
        provider: String,
        /// The host that refused it (Remote-MTA).
        mx_host: String,
        /// What became of it.
        outcome: DeliveryOutcome,
        /// The same in the words of RFC 3464 section 2.3.3: `failed`, `delayed`, `delivered`, `relayed`, `expanded`.
        action: String,
        /// The reply code (RFC 5321 section 4.2).
        smtp_code: Option<u16>,
        /// The enhanced status code (RFC 3463).
        enhanced_code: String,
        /// Why, in one word of the classification.
        class: String,
        /// The rule that said so.
        class_rule: String,
        /// The diagnostic code, or the reason as the bounce words it.
        response: String,
        /// That text with its variable parts taken out.
        response_template: String,
        /// When the reporting host had taken the message in.
        arrived_at: Option<Time>,
        /// When it last tried.
        last_attempt_at: Option<Time>,
        /// Until when it goes on trying.
        retry_until: Option<Time>,
    }
}

row! {
    /// An answer of a machine that is no bounce (RFC 3834): out of office, a receipt, a challenge.
    AutoReply => "auto_replies" {
        /// `vacation`, `auto_reply`, `notice`, `challenge`, `receipt`.
        kind: String,
        /// The header or the words that said so.
        rule: String,
        /// The answer's own Message-ID, or a digest of its content.
        report_id: String,
        /// The Message-ID that it answers.
        message_id: String,
        /// The same over all hops of one message.
        trace_id: String,
        /// Local part of the mailbox that answers.
        from_user: String,
        /// Its domain.
        from_domain: String,
        /// Local part of the mailbox that is answered.
        to_user: String,
        /// Its domain.
        to_domain: String,
        /// The subject.
        subject: String,
    }
}

row! {
    /// A report that a message failed authentication (RFC 6591), sent because a DMARC record asks for it.
    DmarcFailure => "dmarc_failures" {
        /// The domain that the report is about.
        domain: String,
        /// Who sent it.
        organisation: String,
        /// The report's own Message-ID, or a digest of its content.
        report_id: String,
        /// What failed: `dmarc`, `spf`, `signature`, `bodyhash`, `revoked`, `adsp`.
        auth_failure: String,
        /// What was done with the message: `delivered`, `spam`, `policy`, `reject`, `other`.
        delivery_result: String,
        /// Which identities were not aligned: `none`, `spf`, `dkim` (RFC 7489 section 7.3.1).
        identity_alignment: String,
        /// The source of the message.
        source_ip: Option<Address>,
        /// Domain in the From field.
        header_from: String,
        /// Domain of the reverse-path.
        envelope_from: String,
        /// Domain of the recipient.
        rcpt_domain: String,
        /// The domain that DKIM checked.
        dkim_domain: String,
        /// The selector that DKIM checked.
        dkim_selector: String,
        /// The SPF record that was found.
        spf_dns: String,
        /// The checks of the reporter, as it words them (RFC 8601).
        auth_results: String,
        /// The message's Message-ID.
        message_id: String,
        /// The same over all hops of one message.
        trace_id: String,
        /// When the message arrived.
        arrived_at: Option<Time>,
    }
}
