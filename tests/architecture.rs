//! The rules of ARCHITECTURE.md that a machine can hold: the arrows between the crates, and a head on every file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What each crate may import of the others.
const ARROWS: &[(&str, &[&str])] = &[
    ("aggregator", &[]),
    ("mail", &["aggregator"]),
    ("probes", &["aggregator"]),
    ("alerts", &["aggregator", "probes"]),
    ("web", &["aggregator", "probes", "alerts"]),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["src", "aggregator", "mail", "probes", "alerts", "web", "tests"] {
        rust_files(&Path::new(ROOT).join(folder), &mut found);
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

#[test]
fn crates_import_only_along_the_arrows() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for (name, may) in &allowed {
        let manifest = std::fs::read_to_string(Path::new(ROOT).join(name).join("Cargo.toml")).unwrap();
        for other in allowed.keys().filter(|other| *other != name && !may.contains(other)) {
            assert!(
                !manifest
                    .lines()
                    .any(|line| line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} "))),
                "{name} must not depend on {other}"
            );
        }
    }
}

#[test]
fn every_file_begins_with_what_it_is_about() {
    let headless: Vec<_> =
        sources().into_iter().filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!")).collect();
    assert!(headless.is_empty(), "no //! head: {headless:#?}");
}

#[test]
fn unsafe_code_lives_in_the_engine_alone() {
    let word = ["un", "safe"].concat();
    let with_unsafe: Vec<_> = sources()
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().any(|line| {
                line.contains(&format!("{word} {{"))
                    || line.contains(&format!("{word} fn"))
                    || line.contains(&format!("{word} impl"))
            })
        })
        .filter(|path| !path.to_string_lossy().contains("aggregator/src/engine/ffi"))
        .collect();
    assert!(with_unsafe.is_empty(), "{word} outside the engine: {with_unsafe:#?}");
}

#[test]
fn there_is_one_tls_and_one_crypto_provider() {
    let lock = std::fs::read_to_string(Path::new(ROOT).join("Cargo.lock")).unwrap();
    assert_eq!(lock.matches("name = \"rustls\"\n").count(), 1);
    for refused in ["openssl-sys", "native-tls", "rustls-acme", "sieve-rs", "sqlx-sqlite"] {
        assert!(!lock.contains(&format!("name = \"{refused}\"\n")), "{refused} is refused, see docs/dependencies.md");
    }
}
