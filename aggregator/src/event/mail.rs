//! A message taken in, and each attempt to pass it on.

use super::{Address, Scores, Values, row, stored, word};

word! {
    /// What became of a message that somebody offered.
    ReceptionVerdict {
        /// Taken in.
        Accepted = "accepted",
        /// Refused for good (5yz).
        Rejected = "rejected",
        /// Refused for now (4yz).
        Deferred = "deferred",
        /// Taken and thrown away.
        Discarded = "discarded",
        /// Taken and put where no recipient sees it.
        Quarantined = "quarantined",
    }
}

word! {
    /// What became of one attempt for one recipient.
    DeliveryOutcome {
        /// The next hop or the mailbox took it.
        Delivered = "delivered",
        /// It will be tried again.
        Deferred = "deferred",
        /// The next hop refused it for good.
        Bounced = "bounced",
        /// It was given up after its lifetime in the queue.
        Expired = "expired",
        /// It is held until a person lets it go.
        Held = "held",
    }
}

row! {
    /// A message taken in or refused.
    Reception => "receptions" {
        /// The program: `postfix`, `exim`, `varde` …
        mta: String,
        /// The queue id that it was given.
        queue_id: String,
        /// The Message-ID, without angle brackets.
        message_id: String,
        /// The same over all hops of one message; where it is not given, it follows from the Message-ID.
        trace_id: String => trace_given: String = stored::trace_of_reception,
        /// The client's address.
        client_ip: Option<Address>,
        /// The client's verified name.
        client_name: String,
        /// The argument of HELO or EHLO.
        helo: String,
        /// SMTP, ESMTP, ESMTPS, ESMTPSA, LMTP (RFC 3848).
        protocol: String,
        /// Who logged in.
        auth_user: String,
        /// Local part of the reverse-path.
        sender_user: String,
        /// Domain of the reverse-path.
        sender_domain: String,
        /// How many recipients.
        rcpt_count: Option<u32>,
        /// Domain of the first forward-path.
        rcpt_domain: String,
        /// Size in octets.
        size_bytes: Option<u64>,
        /// What became of it.
        verdict: ReceptionVerdict,
        /// The reply code (RFC 5321 section 4.2).
        smtp_code: Option<u16>,
        /// The enhanced status code (RFC 3463), `5.7.1`.
        enhanced_code: String,
        /// Why it was not taken, in one word of the classification.
        class: String,
        /// The rule that said so.
        class_rule: String,
        /// The text of the reply.
        response: String,
        /// SPF result (RFC 7208 section 2.6).
        spf: String,
        /// DKIM result (RFC 8601).
        dkim: String,
        /// DMARC result (RFC 7489).
        dmarc: String,
        /// ARC result (RFC 8617).
        arc: String,
        /// The spam filter's score.
        spam_score: Option<f32>,
        /// The spam filter's symbols and their scores.
        spam_symbols: Scores,
        /// `TLSv1.3` …; empty when in the clear.
        tls_version: String,
        /// The cipher suite.
        tls_cipher: String,
    }
}

row! {
    /// One attempt for one recipient.
    Delivery => "deliveries" {
        /// The program: `postfix`, `exim`, `varde` …
        mta: String,
        /// The queue id here.
        queue_id: String,
        /// The queue id that the next hop gave it.
        next_queue_id: String,
        /// The Message-ID, without angle brackets.
        message_id: String,
        /// The same over all hops of one message; where it is not given, it follows from the Message-ID.
        trace_id: String => trace_given: String = stored::trace_of_delivery,
        /// Local part of the reverse-path.
        sender_user: String,
        /// Domain of the reverse-path.
        sender_domain: String,
        /// Local part of the forward-path.
        rcpt_user: String,
        /// Domain of the forward-path.
        rcpt_domain: String,
        /// Who runs the recipient's mail: `google`, `microsoft` …
        provider: String,
        /// The host it was handed to.
        mx_host: String,
        /// That host's address.
        mx_ip: Option<Address>,
        /// The address it was sent from.
        source_ip: Option<Address>,
        /// The number of this attempt, from 1.
        attempt: Option<u32>,
        /// What became of it.
        outcome: DeliveryOutcome,
        /// Whether no further attempt follows.
        is_final: bool,
        /// The reply code (RFC 5321 section 4.2).
        smtp_code: Option<u16>,
        /// The enhanced status code (RFC 3463).
        enhanced_code: String,
        /// Why it was not delivered, in one word of the classification.
        class: String,
        /// The rule that said so.
        class_rule: String,
        /// The text of the reply. Stored as its template and its variable parts.
        response: String => response_values: Values<'static> = stored::response_values,
        /// That text with its variable parts taken out.
        response_template: String => response_template: String = stored::response_template,
        /// `TLSv1.3` …; empty when in the clear.
        tls_version: String,
        /// The cipher suite.
        tls_cipher: String,
        /// How far the next hop's certificate was trusted.
        tls_trust: String,
        /// Size in octets.
        size_bytes: Option<u64>,
        /// From arrival to the end of this attempt.
        delay_total_ms: Option<u64>,
        /// Before the queue manager.
        delay_a_ms: Option<u64>,
        /// In the queue.
        delay_b_ms: Option<u64>,
        /// Making the connection.
        delay_c_ms: Option<u64>,
        /// Sending the message.
        delay_d_ms: Option<u64>,
        /// `smtp`, `lmtp`, `local`, `virtual`, `pipe` …
        protocol: String,
    }
}
