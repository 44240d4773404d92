//! `--port-offset`: several suites on one machine from the same file.
//!
//! Every port that the file listens on moves, and with it every mention of that port on a loopback address. A port
//! that belongs to somebody else (a webhook of yours, say) stays.

use std::collections::BTreeMap;

/// The section whose every key is an address to listen on.
const METRICS: &str = "metrics.listen";

/// The ports that a file listens on, each with its key: `listen`, or a name that ends in `_listen`, with the section.
pub fn listen_ports(text: &str) -> BTreeMap<u16, String> {
    let mut section = String::new();
    let mut ports = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix('[') {
            section = head.trim_start_matches('[').split(']').next().unwrap_or_default().trim().to_owned();
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim();
        if key != "listen" && !key.ends_with("_listen") && section != METRICS {
            continue;
        }
        let address = value.split('"').nth(1).unwrap_or_default();
        if let Some(port) = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()) {
            ports.insert(port, format!("{section}.{key}"));
        }
    }
    ports
}

/// The file with its ports moved. Lines stay lines.
pub fn moved(text: &str, offset: u16) -> String {
    if offset == 0 {
        return text.to_owned();
    }
    let ports = listen_ports(text);
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.split_inclusive('\n') {
        let is_port = line.split_once('=').is_some_and(|(key, _)| matches!(key.trim(), "port" | "relay_port"));
        if line.trim_start().starts_with('#') {
            out.push_str(line);
        } else {
            move_line(line, is_port, &ports, offset, &mut out);
        }
    }
    out
}

fn move_line(line: &str, is_port: bool, ports: &BTreeMap<u16, String>, offset: u16, out: &mut String) {
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let end = rest[start..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |len| start + len);
        let before = &rest[..start];
        let on_loopback = ["127.0.0.1:", "[::1]:", "localhost:"]
            .iter()
            .any(|host| before.ends_with(host) || ends_across(out, before, host));
        let digits = &rest[start..end];
        out.push_str(before);
        match digits.parse::<u16>() {
            Ok(port) if (is_port || on_loopback) && ports.contains_key(&port) => {
                out.push_str(&port.saturating_add(offset).to_string());
            }
            _ => out.push_str(digits),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
}

/// Whether `out` followed by `before` ends with `suffix`.
fn ends_across(out: &str, before: &str, suffix: &str) -> bool {
    suffix.strip_suffix(before).is_some_and(|head| out.ends_with(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_listened_on_move_wherever_they_are_named_and_others_stay() {
        let text = "[a]\nlisten = \"127.0.0.1:8080\"\n# was 127.0.0.1:8080\n[b]\nurl = \"http://127.0.0.1:8080/x?n=8080\"\n\
                    webhook_url = \"http://127.0.0.1:9999/\"\nport = 8080\nmax = 8080\n";
        let expected = "[a]\nlisten = \"127.0.0.1:8180\"\n# was 127.0.0.1:8080\n[b]\nurl = \"http://127.0.0.1:8180/x?n=8080\"\n\
                        webhook_url = \"http://127.0.0.1:9999/\"\nport = 8180\nmax = 8080\n";
        assert_eq!(moved(text, 100), expected);
    }

    #[test]
    fn listen_keys_are_found_with_their_section() {
        let ports =
            listen_ports("[mail]\nmx_listen = \"127.0.0.1:2525\"\n[[watch.watcher]]\nlisten = \"[::1]:8091\"\n");
        assert_eq!(ports.get(&2525).map(String::as_str), Some("mail.mx_listen"));
        assert_eq!(ports.get(&8091).map(String::as_str), Some("watch.watcher.listen"));
        let ports = listen_ports("[metrics]\nkey_file = \"x:1\"\n[metrics.listen]\nmail-mx = \"127.0.0.1:9411\"\n");
        assert_eq!(ports, BTreeMap::from([(9411, "metrics.listen.mail-mx".to_owned())]));
    }
}
