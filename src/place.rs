//! Which suite a command is about: a folder, or a configuration file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::config::Config;
use crate::init::secrets;

/// Where the port offset of a running suite is kept, relative to its folder.
const PORT_OFFSET: &str = "run/port-offset";

/// The options by which every command names a suite.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The folder of the suite
    #[arg(long, value_name = "DIR", default_value = "varde-data", env = "VARDE_DIR")]
    pub dir: PathBuf,
    /// The configuration file, instead of DIR/varde.toml
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub config: Option<PathBuf>,
    /// Move every port of the configuration by N (default: as `varde up` was started)
    #[arg(long, value_name = "N")]
    pub port_offset: Option<u16>,
    /// Use this ClickHouse server instead of the configured one
    #[arg(long, value_name = "URL")]
    pub clickhouse: Option<String>,
    /// Started by `varde up`: end when the supervisor does
    #[arg(long, hide = true)]
    pub supervised: bool,
}

impl Place {
    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.dir.join("varde.toml"))
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Every fault of the file.
    pub fn load(&self) -> anyhow::Result<Config> {
        let file = self.file();
        let folder = file.parent().unwrap_or(Path::new("."));
        let kept = std::fs::read_to_string(folder.join(PORT_OFFSET)).ok().and_then(|text| text.trim().parse().ok());
        let mut config = Config::load(&file, self.port_offset.or(kept).unwrap_or(0))?;
        if let Some(url) = &self.clickhouse {
            config.events.clickhouse.url = Some(url.clone());
        }
        Ok(config)
    }
}

/// Keeps the offset for the commands that talk to the suite.
///
/// # Errors
/// Names the file.
pub fn keep_port_offset(dir: &Path, offset: u16) -> anyhow::Result<()> {
    secrets::write_atomically(&dir.join(PORT_OFFSET), format!("{offset}\n").as_bytes(), 0o644)
        .context("the port offset cannot be kept for the other commands")
}
