//! What a supervisor that was killed left behind: children that were stopped or hung when their parent went.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Ends the processes that the last `ready.json` of this folder names and that still are this folder's.
pub async fn stop_orphans(dir: &Path) {
    let Ok(text) = std::fs::read_to_string(dir.join("ready.json")) else { return };
    let Ok(ready) = serde_json::from_str::<serde_json::Value>(&text) else { return };
    let pids: Vec<Pid> = ready["services"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|service| i32::try_from(service["pid"].as_i64()?).ok().and_then(Pid::from_raw))
        .filter(|pid| belongs_to(*pid, dir))
        .collect();
    for pid in &pids {
        tracing::warn!(pid = pid.as_raw_nonzero().get(), "ending a service that an earlier run left behind");
        // It may have ended meanwhile, which is what is wanted.
        let _ = kill_process(*pid, Signal::KILL);
    }
    for _ in 0..50 {
        if pids.iter().all(|pid| test_kill_process(*pid).is_err()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn belongs_to(pid: Pid, dir: &Path) -> bool {
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let arguments: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
    arguments.windows(2).any(|pair| pair[0] == b"--dir" && pair[1] == dir.as_os_str().as_encoded_bytes())
}
