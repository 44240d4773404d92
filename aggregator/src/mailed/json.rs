//! How a JSON document is known as a TLS report.

/// Whether octets begin as a TLS report (RFC 8460 section 4.4): members of its outermost object. Logs are JSON, too.
pub(super) fn looks_like_report(head: &[u8]) -> bool {
    let has = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    has(b"\"report-id\"") || has(b"\"organization-name\"") || has(b"\"policy-type\"")
}
