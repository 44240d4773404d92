//! `managesieve`: the account's filter scripts can be listed, and, when the check may write, changed (RFC 5804).

use aggregator::event::{ProbeOutcome, Time};

use super::access::{Probe, remark};
use super::{Kind, Need, Steps, Stop};
use crate::config::Tls;
use crate::conversation::Fault;
use crate::conversation::managesieve::ManageSieve;

/// How the name of a probe's script begins; the time and the run follow.
const NAME: &str = "varde-probe";
/// What a crash left behind is removed after this time; before, the run may still be under way.
const LEFTOVER_AGE_MS: u64 = 3_600_000;
/// Leftovers that one run removes.
const LEFTOVERS_MAX: usize = 20;
/// A script that does nothing, in any implementation.
const SCRIPT: &str = "# A probe of the mail system: it does nothing, is never active, and removes itself.\r\nkeep;\r\n";

pub(super) const KIND: Kind = Kind {
    name: "managesieve",
    title: "ManageSieve: connect, greeting, TLS, login, scripts, space, optionally a script put and deleted",
    patience: 4,
    needs: &[Need::Host, Need::Port, Need::Account],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    probe.plan_opening(steps);
    if probe.check.tls == Tls::Starttls {
        steps.plan(&["tls"]);
    }
    steps.plan(&["auth", "list", "space"]);
    if probe.check.write {
        steps.plan(&["check", "put", "delete"]);
    }
    steps.plan(&["logout"]);
    let login = probe.login(steps).await?;
    let place = probe.place();
    let mut sieve = ManageSieve::new(probe.open(steps).await?);
    steps.run("banner", format!("waiting for the greeting of {place}"), sieve.greeting()).await?;
    if probe.check.tls == Tls::Starttls {
        let work = async { sieve.start_tls(&probe.tls().await?).await };
        let (secure, certificate) = steps.run("tls", format!("STARTTLS with {place}"), work).await?;
        steps.note(remark(&certificate));
        sieve = secure;
    }
    let work = sieve.login(&login.user, &login.password);
    let mechanism = steps.run("auth", format!("AUTHENTICATE as {} at {place}", login.user), work).await?;
    steps.note(mechanism.name());
    let scripts = steps.run("list", format!("LISTSCRIPTS at {place}"), sieve.scripts()).await?;
    let active = scripts.iter().find(|script| script.active).map_or("none", |script| script.name.as_str());
    steps.note(format!("{} scripts, active: {active}", scripts.len()));
    let name = script_name(&probe.cx.run_id, Time::now());
    let work = sieve.have_space(&name, SCRIPT.len());
    steps.run("space", format!("HAVESPACE at {place}"), work).await?;
    if probe.check.write {
        let checked = steps.run("check", format!("CHECKSCRIPT at {place}"), sieve.check_script(SCRIPT)).await?;
        if !checked {
            steps.note("the server has no CHECKSCRIPT");
        }
        steps.run("put", format!("PUTSCRIPT at {place}"), sieve.put_script(&name, SCRIPT)).await?;
        let now = Time::now();
        let old = scripts.iter().filter(|script| !script.active && is_leftover(&script.name, now));
        let old: Vec<&str> = old.map(|script| script.name.as_str()).take(LEFTOVERS_MAX).collect();
        steps.run("delete", format!("DELETESCRIPT at {place}"), delete(&mut sieve, &name, &old)).await?;
    }
    steps.run("logout", format!("LOGOUT from {place}"), sieve.logout()).await?;
    Ok(ProbeOutcome::Ok)
}

async fn delete(sieve: &mut ManageSieve, name: &str, leftovers: &[&str]) -> Result<(), Fault> {
    sieve.delete_script(name).await?;
    for leftover in leftovers {
        // Another watcher may have been faster.
        let _ = sieve.delete_script(leftover).await;
    }
    Ok(())
}

fn script_name(run_id: &str, now: Time) -> String {
    let run: String = run_id.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    format!("{NAME}-{}-{run}", now.seconds())
}

fn is_leftover(name: &str, now: Time) -> bool {
    let begun = name.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('-')).and_then(|rest| rest.split_once('-'));
    let begun = begun.and_then(|(seconds, _)| seconds.parse().ok()).map(Time::from_seconds);
    begun.is_some_and(|begun| now.millis_since(begun) > LEFTOVER_AGE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_old_script_of_a_probe_is_left_over() {
        let begun = Time::from_seconds(1_795_000_000);
        let name = script_name("ab-cd/1", begun);
        assert_eq!(name, "varde-probe-1795000000-abcd1");
        assert!(!is_leftover(&name, begun.plus_millis(3_600_000)));
        assert!(is_leftover(&name, begun.plus_millis(3_600_001)));
        for other in ["vacation", "varde-probe-of-mine", "varde-probe-1-"] {
            assert_eq!(is_leftover(other, begun), other == "varde-probe-1-", "{other}");
        }
    }
}
