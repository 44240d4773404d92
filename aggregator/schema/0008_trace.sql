-- The life of a message with all its attempts and delays. Ask by trace_id, message_id or queue_id.
CREATE OR REPLACE VIEW message_trace AS
SELECT
    tenant, ts, node, 'reception' AS kind, mta, queue_id, '' AS next_queue_id, message_id, trace_id,
    sender_user, sender_domain, '' AS rcpt_user, rcpt_domain, client_name AS peer_host, client_ip AS peer_ip,
    verdict AS outcome, smtp_code, enhanced_code, class, response, toUInt64(0) AS delay_total_ms,
    class_rule, size_bytes, toUInt32(0) AS attempt, toUInt64(0) AS delay_a_ms, toUInt64(0) AS delay_b_ms,
    toUInt64(0) AS delay_c_ms, toUInt64(0) AS delay_d_ms
FROM receptions
UNION ALL
SELECT
    tenant, ts, node, 'delivery' AS kind, mta, queue_id, next_queue_id, message_id, trace_id,
    sender_user, sender_domain, rcpt_user, rcpt_domain, mx_host AS peer_host, mx_ip AS peer_ip,
    outcome, smtp_code, enhanced_code, class, response, delay_total_ms,
    class_rule, size_bytes, attempt, delay_a_ms, delay_b_ms, delay_c_ms, delay_d_ms
FROM deliveries;
