//! Whether the ports are free, said before anything is started.

use std::fmt::Write;
use std::net::TcpListener;

use crate::config::{Config, listen_ports};

/// Tries every address that the suite will listen on.
///
/// # Errors
/// Every port that is taken: the port, its key, the process if it can be known.
pub fn check(config: &Config, offset: u16, embedded: bool) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(config.path("varde.toml"))?;
    let mut taken = String::new();
    for (port, key) in listen_ports(&text) {
        if key == "clickhouse.listen" && !embedded {
            continue;
        }
        let Some(port) = port.checked_add(offset) else {
            anyhow::bail!("{key}: port {port} with --port-offset {offset} is past 65535");
        };
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            let who = holder(port).map_or_else(String::new, |who| format!(" by {who}"));
            writeln!(taken, "  port {port} ({key}) is taken{who}: {error}")?;
        }
    }
    anyhow::ensure!(
        taken.is_empty(),
        "these ports are not free:\n{taken}stop what holds them, change the keys in {}, or move all ports with --port-offset N",
        config.path("varde.toml").display()
    );
    Ok(())
}

/// The process that listens on a port, as `/proc` tells.
fn holder(port: u16) -> Option<String> {
    const LISTENING: &str = "0A";
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        std::fs::read_to_string(table).ok()?.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
            (local == port && *fields.get(3)? == LISTENING).then(|| (*fields.get(9).unwrap_or(&"")).to_owned())
        })
    })?;
    let socket = format!("socket:[{inode}]");
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = std::fs::read_dir(process.path().join("fd"))
            .ok()?
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == socket.as_str()));
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        holds.then(|| format!("{} (process {pid})", name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let who = holder(listener.local_addr().unwrap().port()).unwrap();
        assert!(who.ends_with(&format!("(process {})", std::process::id())), "{who}");
    }
}
