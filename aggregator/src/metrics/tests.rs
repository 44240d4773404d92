//! Recording, writing in both formats, serving, and that docs/metrics.md lists what there is.

use std::collections::BTreeMap;

use super::family::Kind;
use super::*;

static SERVED: Counters = Counters::new("varde_test_served_total", "Served.", &["what"]);
static HEAT: Gauges = Gauges::new("varde_test_heat_ratio", "A \"back\\slash\"\nand a line.", &[]);
static HOPE: Gauges = Gauges::new("varde_test_hope_seconds", "Hope.", &[]);
static TOOK: Histograms = Histograms::new("varde_test_took_seconds", "Took.", &["what"], &[0.5, 2.5]);
static MANY: Counters = Counters::new("varde_test_many_total", "Many.", &["n"]);
static LONG: Counters = Counters::new("varde_test_long_total", "Long.", &["n"]);
static RACED: Counters = Counters::new("varde_test_raced_total", "Raced.", &["n", "m"]);

fn page_of(families: &[&dyn Family], format: Format) -> String {
    text::page(families.iter().copied(), format)
}

#[test]
fn both_formats_say_what_was_counted_and_families_without_series_say_nothing() {
    static IDLE: Counters = Counters::new("varde_test_idle_total", "Idle.", &[]);
    SERVED.with(&["b \"\\\n"]).add(3);
    SERVED.with(&["a"]).inc();
    HEAT.with(&[]).set(-1.25);
    HEAT.with(&[]).inc();
    for ms in [400, 500, 2_000, 9_000] {
        TOOK.with(&["x"]).observe_ms(ms);
    }
    let families: &[&dyn Family] = &[&IDLE, &SERVED, &HEAT, &TOOK];
    let body = "varde_test_served_total{what=\"a\"} 1\n\
                varde_test_served_total{what=\"b \\\"\\\\\\n\"} 3\n";
    let rest = "# TYPE varde_test_heat_ratio gauge\n\
                varde_test_heat_ratio -0.25\n\
                # HELP varde_test_took_seconds Took.\n\
                # TYPE varde_test_took_seconds histogram\n\
                varde_test_took_seconds_bucket{what=\"x\",le=\"0.5\"} 2\n\
                varde_test_took_seconds_bucket{what=\"x\",le=\"2.5\"} 3\n\
                varde_test_took_seconds_bucket{what=\"x\",le=\"+Inf\"} 4\n\
                varde_test_took_seconds_sum{what=\"x\"} 11.9\n\
                varde_test_took_seconds_count{what=\"x\"} 4\n";
    let classic = [
        "# HELP varde_test_served_total Served.\n# TYPE varde_test_served_total counter\n",
        body,
        "# HELP varde_test_heat_ratio A \"back\\\\slash\"\\nand a line.\n",
        rest,
    ];
    assert_eq!(page_of(families, Format::Prometheus), classic.concat());
    let open = [
        "# HELP varde_test_served Served.\n# TYPE varde_test_served counter\n",
        body,
        "# HELP varde_test_heat_ratio A \\\"back\\\\slash\\\"\\nand a line.\n",
        rest,
        "# EOF\n",
    ];
    assert_eq!(page_of(families, Format::OpenMetrics), open.concat());
}

#[test]
fn a_gauge_that_is_not_known_says_so_until_it_is() {
    let gauge = HOPE.with(&[]);
    gauge.set(f64::NAN);
    assert!(page_of(&[&HOPE], Format::Prometheus).ends_with("\nvarde_test_hope_seconds NaN\n"));
    gauge.set(-0.4);
    assert_eq!(gauge.get(), -0.4);
}

#[test]
fn a_family_has_so_many_series_and_counts_the_rest_together() {
    for n in 0..SERIES + 10 {
        MANY.with(&[&n.to_string()]).inc();
        MANY.with(&[&n.to_string()]).inc();
    }
    let page = page_of(&[&MANY], Format::Prometheus);
    assert_eq!(page.lines().filter(|line| line.ends_with(" 2")).count(), SERIES);
    assert!(page.contains("varde_test_many_total{n=\"other\"} 20\n"), "{page}");
    let long = "é".repeat(500);
    let cut: String = long.chars().take(100).collect();
    LONG.with(&[&long]).inc();
    assert_eq!(LONG.with(&[&cut]).get(), 1);
}

#[test]
fn threads_that_see_a_series_first_at_the_same_time_count_into_one() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..1_000_u32 {
                    RACED.with(&[&(n % 50).to_string(), "m"]).inc();
                }
            });
        }
    });
    for n in 0..50 {
        assert_eq!(RACED.with(&[&n.to_string(), "m"]).get(), 8 * 20);
    }
}

/// One row of docs/metrics.md: name, kind, labels.
fn documented() -> BTreeMap<String, (String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{line}: four columns are wanted") };
        assert!(meaning.len() > 10, "{line}: it says nothing");
        Some((name.trim_end_matches('`').to_owned(), (kind.to_owned(), labels.replace(['`', ' '], ""))))
    });
    let rows: Vec<_> = rows.collect();
    let count = rows.len();
    let rows = BTreeMap::from_iter(rows);
    assert_eq!(rows.len(), count, "a metric is listed twice");
    rows
}

#[test]
fn the_document_lists_every_metric_with_its_kind_and_labels_and_no_other() {
    let declared: BTreeMap<String, (String, String)> = FAMILIES
        .iter()
        .copied()
        .flatten()
        .map(|family| {
            let head = family.head();
            (head.name.to_owned(), (family.kind().as_str().to_owned(), head.labels.join(",")))
        })
        .collect();
    assert_eq!(declared, documented());
}

#[test]
fn names_labels_and_bounds_are_what_prometheus_wants() {
    for family in FAMILIES.iter().copied().flatten() {
        let head = family.head();
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(word(head.name) && head.labels.iter().all(|label| word(label) && *label != "le"), "{}", head.name);
        assert!(head.name.starts_with("varde_") || head.name.starts_with("process_"), "{}", head.name);
        assert_eq!(head.name.ends_with("_total"), family.kind() == Kind::Counter, "{}", head.name);
        assert!(!head.name.ends_with("_ms") && !head.name.ends_with("_count"), "{}", head.name);
        assert!(head.help.ends_with('.'), "{}", head.name);
        assert_eq!(family.kind() == Kind::Histogram, head.bounds.len() > 1, "{}", head.name);
        assert!(head.bounds.is_sorted_by(|a, b| a < b), "{}", head.name);
    }
}

#[tokio::test]
async fn the_page_is_served_to_who_shows_the_key_in_the_format_that_is_asked_for() {
    use tokio_util::sync::CancellationToken;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = Listener { process: "test".into(), address, key: Some("the-key".into()) };
    let _telling = begin("test");
    let task = tokio::spawn(serving.serve_on(listener, stop.clone()));
    let url = format!("http://{address}/metrics");
    let http = reqwest::Client::new();
    for key in ["", "another", "the-key2"] {
        assert_eq!(http.get(&url).bearer_auth(key).send().await.unwrap().status(), 401);
    }
    let answer = http.get(&url).bearer_auth("the-key").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let page = answer.text().await.unwrap();
    for name in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "] {
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
        assert!(line[name.len()..].parse::<f64>().unwrap() > 0.0, "{line}");
    }
    assert!(page.contains("process=\"test\"} 1\n"), "{page}");
    let answer = http.get(&url).bearer_auth("the-key").header("accept", "application/openmetrics-text").send();
    let answer = answer.await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(answer.text().await.unwrap().ends_with("\n# EOF\n"));
    stop.cancel();
    task.await.unwrap();
}

#[test]
fn an_address_that_others_reach_needs_a_key() {
    let config = |text: &str| toml::from_str::<Config>(text).unwrap();
    let known = ["node".to_owned(), "web".to_owned()];
    let faults = |text: &str| config(text).check(&known);
    assert_eq!(faults("listen.node = \"127.0.0.1:1\"\nlisten.web = \"[::1]:1\""), []);
    let open = "listen.node = \"192.0.2.1:1\"\n";
    assert_eq!(faults(open)[0].0, "listen.node");
    assert!(faults(open)[0].1.contains("set metrics.key_file"), "{:?}", faults(open));
    assert_eq!(faults(&["key_file = \"k\"\n", open].concat()), []);
    let twice = faults("listen.node = \"127.0.0.1:1\"\nlisten.web = \"127.0.0.1:1\"\nlisten.nod = \"127.0.0.1:2\"");
    assert_eq!(
        twice,
        [
            ("listen.nod".to_owned(), "there is no such process; there are node, web".to_owned()),
            ("listen.web".to_owned(), "127.0.0.1:1 is the address of node too".to_owned()),
        ]
    );
}
