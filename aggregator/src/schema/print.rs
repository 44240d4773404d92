//! The tables as statements for people: `varde schema`, and the form for a cluster.
//!
//! On a cluster each shard has the tables of [`DATABASE`] as replicated ones: a shipper's aggregator is pinned to one
//! shard and writes there, so that a block that comes again finds its token. [`READS`] has the same names as
//! Distributed tables over all shards, with the views over them: reports and people read there.

use super::{DATABASE, MIGRATIONS, OF_A_DAY, statements};

/// The database of what is written.
const LOCAL: &str = "varde";
/// The database of what is read, on a cluster.
pub const READS: &str = "varde_all";
/// For how long a replicated table knows a token: the longest outage of a shipper.
const WINDOW: &str = "replicated_deduplication_window = 100000, replicated_deduplication_window_seconds = 604800";
/// The same of a table that is not replicated, as the files say it.
const LOCAL_WINDOW: &str = "non_replicated_deduplication_window = 100000";
/// How a statement begins that changes a table's indices, which a Distributed table has none of.
const INDICES: &str = "ALTER TABLE ";

/// The name of a cluster, as `remote_servers` has it, or a macro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster(String);

impl std::str::FromStr for Cluster {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let bare = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        if bare.is_empty() || bare.len() > 100 || !bare.chars().all(plain) {
            return Err(
                "a cluster's name has letters, digits, '_', '-' and '.'; or it is a macro: {cluster}".to_owned()
            );
        }
        Ok(Self(name.to_owned()))
    }
}

/// Every statement, in order, for one server.
pub fn server() -> Vec<String> {
    [DATABASE.to_owned(), ["USE ", LOCAL].concat()].into_iter().chain(ours().map(str::to_owned)).collect()
}

/// The statements of a new database: there is nothing in it that a migration would bring up to date.
fn ours() -> impl Iterator<Item = &'static str> {
    MIGRATIONS.iter().flat_map(|(_, sql)| statements(sql)).filter(|statement| !statement.contains(OF_A_DAY))
}

/// Every statement, in order, for a cluster.
pub fn cluster(cluster: &Cluster) -> Vec<String> {
    let on = [" ON CLUSTER '", &cluster.0, "'"].concat();
    let database = |name: &str| ["CREATE DATABASE IF NOT EXISTS ", name, &on].concat();
    let change = |name: &str| ["USE ", name].concat();
    let mut all = vec![database(LOCAL), change(LOCAL)];
    all.extend(ours().map(|statement| replicated(statement, &on)));
    all.extend([database(READS), change(READS)]);
    for statement in ours() {
        if let Some((head, name)) = created(statement, "CREATE TABLE IF NOT EXISTS ") {
            let engine =
                [" AS ", LOCAL, ".", name, "\nENGINE = Distributed('", &cluster.0, "', '", LOCAL, "', '", name, "')"];
            all.push([head, &on, &engine.concat()].concat());
        } else if created(statement, "CREATE MATERIALIZED VIEW ").or(created(statement, INDICES)).is_none() {
            // A join of two Distributed tables must be asked for in so many words.
            all.push(with_cluster(statement, &on).replace(" LEFT JOIN", " GLOBAL LEFT JOIN"));
        }
    }
    all
}

/// The comment before a statement together with the head of it, and the name that it makes.
fn created<'a>(statement: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    let after = statement.find(what)? + what.len();
    let name = statement.get(after..)?.split([' ', '\n']).next()?;
    Some((statement.get(..after + name.len())?, name))
}

fn with_cluster(statement: &str, on: &str) -> String {
    const HEADS: [&str; 5] = [
        "CREATE TABLE IF NOT EXISTS ",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS ",
        "CREATE VIEW IF NOT EXISTS ",
        "CREATE OR REPLACE VIEW ",
        INDICES,
    ];
    let head = HEADS.iter().find_map(|what| created(statement, what)).map(|(head, _)| head);
    head.map_or_else(|| statement.to_owned(), |head| [head, on, &statement[head.len()..]].concat())
}

fn replicated(statement: &str, on: &str) -> String {
    let text = with_cluster(statement, on).replace(LOCAL_WINDOW, WINDOW);
    let Some((_, name)) = created(statement, "CREATE TABLE IF NOT EXISTS ") else { return text };
    let Some((before, after)) = text.split_once("\nENGINE = ") else { return text };
    let (engine, rest) = after.split_once('\n').unwrap_or((after, ""));
    let (family, argument) =
        engine.split_once('(').map_or((engine, ""), |(family, argument)| (family, argument.trim_end_matches(')')));
    let place = ["('/clickhouse/tables/{shard}/", LOCAL, "/", name, "', '{replica}'"].concat();
    let argument = if argument.is_empty() { String::new() } else { [", ", argument].concat() };
    [before, "\nENGINE = Replicated", family, &place, &argument, ")\n", rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_replicated_with_a_window_of_a_week_and_read_over_all_shards() {
        let all = cluster(&"mail".parse().unwrap());
        let local: Vec<&String> = all.iter().filter(|statement| statement.contains("ENGINE = Replicated")).collect();
        let reads = all.iter().filter(|statement| statement.contains("ENGINE = Distributed('mail', 'varde', ")).count();
        let tables = super::super::lifetime::tables();
        assert_eq!((local.len(), reads), (tables.len(), tables.len()));
        for statement in local {
            assert!(statement.contains(WINDOW) && !statement.contains(LOCAL_WINDOW), "{statement}");
        }
        for statement in all.iter().filter(|statement| !statement.starts_with("USE ")) {
            assert_eq!(statement.matches(" ON CLUSTER 'mail'").count(), 1, "{statement}");
        }
        let incidents = all.iter().find(|statement| statement.contains(" incidents ON CLUSTER")).unwrap();
        let engine = "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/varde/incidents', '{replica}', revision)";
        assert!(incidents.contains(engine), "{incidents}");
        let availability = all.iter().filter(|statement| statement.contains("VIEW IF NOT EXISTS availability"));
        assert_eq!(availability.map(|view| view.contains("GLOBAL LEFT JOIN")).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_name_that_could_be_more_than_a_name_is_refused() {
        assert!("{cluster}".parse::<Cluster>().is_ok() && "eu-mail_1.a".parse::<Cluster>().is_ok());
        for name in ["", "a'b", "a b", "{}", "x;"] {
            assert!(name.parse::<Cluster>().is_err(), "{name}");
        }
    }
}
