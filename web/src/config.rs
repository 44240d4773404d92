//! The section `[web]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// The section `[web]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the dashboard listens: address and port.
    pub operator_listen: String,
    /// Where the public page listens: address and port.
    pub public_listen: String,
    /// Who may log in: a JSON array of [`OperatorEntry`](crate::OperatorEntry).
    pub operators_file: PathBuf,
    /// The key that signs sessions, 32 octets or more. On disk, so that sessions outlive a restart.
    pub session_key_file: PathBuf,
    /// What people type to reach the dashboard, when something stands before it. With `https://` the cookies are sent
    /// over TLS only.
    #[serde(default)]
    pub operator_url: Option<String>,
}

impl Config {
    /// Every fault: the key, and what is wrong with it.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        for (key, value) in [("operator_listen", &self.operator_listen), ("public_listen", &self.public_listen)] {
            if value.parse::<SocketAddr>().is_err() {
                faults.push((key.into(), format!("\"{value}\" is not an address and port such as 127.0.0.1:8080")));
            }
        }
        if self.operator_listen == self.public_listen && !self.operator_listen.ends_with(":0") {
            faults
                .push(("public_listen".into(), "is the same as operator_listen; the two sites are kept apart".into()));
        }
        for (key, path) in [("operators_file", &self.operators_file), ("session_key_file", &self.session_key_file)] {
            if path.as_os_str().is_empty() {
                faults.push((key.into(), "is empty; name a file".into()));
            }
        }
        if let Some(url) = &self.operator_url
            && !url.starts_with("https://")
            && !url.starts_with("http://")
        {
            faults.push(("operator_url".into(), format!("\"{url}\" begins with neither http:// nor https://")));
        }
        faults
    }

    /// Whether browsers reach the dashboard over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.operator_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            operator_listen: "127.0.0.1:8080".into(),
            public_listen: "127.0.0.1:8081".into(),
            operators_file: "operators.json".into(),
            session_key_file: "session.key".into(),
            operator_url: None,
        }
    }

    #[test]
    fn a_good_section_has_no_faults() {
        assert_eq!(config().check(), []);
    }

    #[test]
    fn every_fault_is_reported_with_its_key() {
        let bad = Config {
            operator_listen: "localhost".into(),
            public_listen: "localhost".into(),
            operators_file: PathBuf::new(),
            operator_url: Some("varde.example".into()),
            ..config()
        };
        let keys: Vec<String> = bad.check().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["operator_listen", "public_listen", "public_listen", "operators_file", "operator_url"]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = r#"{"operator_listen":"","public_listen":"","operators_file":"","session_key_file":"","colour":1}"#;
        assert!(serde_json::from_str::<Config>(text).unwrap_err().to_string().contains("colour"));
    }
}
