//! `varde audit`.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use aggregator::event::Time;
use probes::posture::{Check, Options, Outcome, Report, audit};

use crate::cli::Audit;

/// Audits a domain and prints what was found; exit code 1 when a check failed.
#[expect(clippy::print_stdout, reason = "prints the report")]
pub async fn run(args: &Audit) -> anyhow::Result<ExitCode> {
    let report = audit(&args.domain, &options(args), Time::now()).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else if args.html {
        println!("{}", web::audit_page(&report)?);
    } else {
        // https://no-color.org
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = if std::io::stdout().is_terminal() && !plain { Paint::Colour } else { Paint::Plain };
        print!("{}", text(&report, args.all, paint)?);
    }
    Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn options(args: &Audit) -> Options {
    let defaults = Options::default();
    let or = |given: &[String], usual: Vec<String>| if given.is_empty() { usual } else { given.to_vec() };
    Options {
        resolver: args.resolver,
        connect: args.connect,
        smtp_port: args.smtp_port,
        https_port: args.https_port,
        trust: args.trust.clone(),
        selectors: args.selector.clone(),
        address_lists: or(&args.blocklist, defaults.address_lists),
        domain_lists: or(&args.domain_blocklist, defaults.domain_lists),
        timeout: Duration::from_secs(args.timeout),
    }
}

/// Whether the terminal shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Colour,
    Plain,
}

impl Paint {
    fn word(self, outcome: Outcome) -> String {
        let word = outcome.as_str();
        let code = match (self, outcome) {
            (Self::Plain, _) => return format!("{word:<7}"),
            (Self::Colour, Outcome::Fail) => "31",
            (Self::Colour, Outcome::Warn) => "33",
            (Self::Colour, Outcome::Pass) => "32",
            (Self::Colour, Outcome::Skipped) => "2",
        };
        format!("\u{1b}[{code}m{word:<7}\u{1b}[0m")
    }
}

/// For people: families with the worst first, and in each the worst check first.
fn text(report: &Report, all: bool, paint: Paint) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let count = |outcome| report.count(outcome);
    writeln!(out, "{}: {} of 100, grade {:?}", report.domain, report.score, report.grade)?;
    writeln!(
        out,
        "{} failed, {} to improve, {} passed, {} skipped",
        count(Outcome::Fail),
        count(Outcome::Warn),
        count(Outcome::Pass),
        count(Outcome::Skipped)
    )?;
    let families = report.checks.chunk_by(|a, b| a.family == b.family);
    let mut families: Vec<Vec<&Check>> = families.map(|family| family.iter().collect()).collect();
    let badness = |check: &&Check| std::cmp::Reverse((check.result, check.weight));
    for family in &mut families {
        family.sort_by_key(badness);
    }
    families.sort_by_key(|family| family.first().map(badness));
    for family in families {
        let shown: Vec<_> = family.iter().filter(|check| all || check.result >= Outcome::Warn).collect();
        let Some(first) = shown.first() else { continue };
        writeln!(out, "\n{}", first.heading)?;
        for check in shown {
            writeln!(out, "  {} {}  {}", paint.word(check.result), check.id, check.title)?;
            writeln!(out, "          found: {}", check.evidence)?;
            if check.result >= Outcome::Warn {
                writeln!(out, "          why:   {}", check.why)?;
                writeln!(out, "          mend:  {}", check.remedy)?;
            }
        }
    }
    if !all && report.count(Outcome::Pass) + report.count(Outcome::Skipped) > 0 {
        writeln!(out, "\nWith --all, the checks that passed or were skipped as well.")?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use probes::posture::Grade;

    use super::*;

    fn check(id: &'static str, result: Outcome, weight: u8) -> Check {
        let family = id.split('.').next().unwrap();
        let (evidence, remedy) = ("E".to_owned(), "R".to_owned());
        let (heading, title, why) = (family.into(), "T".into(), "W".into());
        Check { id: id.into(), family: family.into(), heading, title, result, evidence, why, remedy, weight }
    }

    #[test]
    fn the_worst_comes_first_and_only_a_terminal_sees_colours() {
        let checks = vec![
            check("mx.a", Outcome::Pass, 9),
            check("spf.a", Outcome::Warn, 9),
            check("spf.b", Outcome::Fail, 2),
            check("tls.a", Outcome::Fail, 5),
        ];
        let report = Report { domain: "a.test".to_owned(), at: Time::default(), score: 54, grade: Grade::F, checks };
        let plain = text(&report, false, Paint::Plain).unwrap();
        let ids = plain.lines().filter(|line| line.starts_with("  fail") || line.starts_with("  warn"));
        let ids: Vec<_> = ids.filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(ids, ["tls.a", "spf.b", "spf.a"]);
        assert!(plain.starts_with("a.test: 54 of 100, grade F\n2 failed, 1 to improve, 1 passed, 0 skipped\n"));
        assert!(!plain.contains('\u{1b}'));
        assert!(text(&report, true, Paint::Colour).unwrap().contains("\u{1b}[32mpass"));
    }
}
