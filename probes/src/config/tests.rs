//! Tests of the configuration: the shipped file is right, and each fault is named at its key.

use super::*;

fn shipped() -> Config {
    #[derive(Deserialize)]
    struct Parts {
        watch: Watch,
        target: Vec<Target>,
    }
    let parts: Parts = toml::from_str(include_str!("../../../src/init/varde.toml")).unwrap();
    Config { watch: parts.watch, target: parts.target }
}

#[test]
fn the_shipped_configuration_has_no_fault() {
    let config = shipped();
    assert_eq!(config.check(), []);
    assert_eq!(config.watch.watcher.len(), 3);
    assert_eq!(config.watch.freshness(Cadence::Audit), Duration::from_secs(1_200));
    assert_eq!(config.watch.freshness(Cadence::Light), Duration::from_secs(90));
    let imap = config.target[0].check("imap").unwrap();
    let month = Duration::from_secs(30 * 86_400);
    let [(window, goal)] = crate::objective::of_service(&config.target[0], "imap")[..] else { panic!() };
    assert_eq!((window.to_string().as_str(), goal.budget(month.as_micros() as i64)), ("30d", 2_592_000_000));
    assert_eq!((imap.title(), imap.tls, imap.timeout()), ("IMAP", Tls::Tls, std::time::Duration::from_secs(5)));
}

#[test]
fn every_fault_is_reported_at_its_key() {
    let config: Config = toml::from_str(
        r#"
[watch]
interval_s = 0
control = ["1.1.1.1"]
[[watch.watcher]]
name = "a"
listen = "127.0.0.1:1"
public_key_file = "a.pub"
[[watch.watcher]]
name = "a"
listen = "127.0.0.1:1"
public_key_file = "a.pub"
[[target]]
name = "t"
[[target.check]]
name = "x"
kind = "gopher"
service = "s"
cadence = "light"
account = "nobody@t"
[[target.check]]
name = "x"
kind = "imap"
service = "s"
cadence = "audit"
timeout_ms = 0
imap = "x"
webmail = "y"
[[target.maintenance]]
weekday = "caturday"
time = "02:00"
duration_s = 60
services = ["q"]
[[target.objective]]
availability = 100
services = ["q"]
[[target.objective]]
availability = 99.9
[[target.objective]]
availability = 99.95
window = "30d"
[[target.objective]]
availability = 99.5
window = "calendar month"
services = []
"#,
    )
    .unwrap();
    let keys: Vec<String> = config.check().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "watch.interval_s",
            "watch.control[0]",
            "watch.watcher[1].name",
            "watch.watcher[1].listen",
            "target[0].check[1].name",
            "target[0].check[0].kind",
            "target[0].check[0].account",
            "target[0].check[1].host",
            "target[0].check[1].port",
            "target[0].check[1].account",
            "target[0].check[1].timeout_ms",
            "target[0].check[1].cadence",
            "target[0].maintenance[0]",
            "target[0].maintenance[0].services",
            "target[0].objective[0].availability",
            "target[0].objective[0].services",
            "target[0].objective[2].window",
            "target[0].objective[3].services",
            "target[0].check[1].webmail",
            "target[0].check[1].imap",
        ]
    );
}

#[test]
fn an_unknown_key_is_refused() {
    let fault = toml::from_str::<Config>("[watch]\nintervall_s = 5\n").unwrap_err().to_string();
    assert!(fault.contains("unknown field `intervall_s`"), "{fault}");
}

#[test]
fn relative_paths_are_below_the_configuration() {
    let mut config = shipped();
    config.resolve_paths(Path::new("/etc/varde"));
    assert_eq!(config.watch.watcher[0].public_key_file, Path::new("/etc/varde/keys/us-east.pub"));
    assert_eq!(config.target[0].trust.as_deref(), Some(Path::new("/etc/varde/tls/ca.pem")));
}
