//! The recorder of a run's steps: it times each, turns the first failure into words, and lists what was not reached.

use std::future::Future;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, StepResult};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::time::Instant;

use super::Finding;
use crate::conversation::{Class, Fault, Heard};
use crate::observation::Step;

/// What one run may find beside its outcome.
const FINDINGS_MAX: usize = 100;

/// A step failed, and that is recorded: the run goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// The steps of one run.
pub struct Steps {
    plan: Vec<&'static str>,
    done: Vec<Step>,
    timeout: Duration,
    end: Instant,
    heard: Heard,
    secrets: Vec<String>,
    failure: Option<Fault>,
    findings: Vec<Finding>,
}

impl Steps {
    /// For a run in which each step may take `timeout`, and all of them until `end`.
    pub fn new(timeout: Duration, end: Instant) -> Self {
        let (plan, done, secrets) = (Vec::new(), Vec::new(), Vec::new());
        Self { plan, done, timeout, end, heard: Heard::default(), secrets, failure: None, findings: Vec::new() }
    }

    /// Says which steps come next, so that those not reached can be listed.
    pub fn plan(&mut self, names: &[&'static str]) {
        self.plan.extend(names);
    }

    /// What counts the octets heard, for the conversations of this run.
    pub fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// A secret that no detail may show, in clear or in Base64.
    pub fn hide(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
            self.secrets.push(BASE64.encode(secret));
        }
    }

    /// Does one step: `doing` names what is done and to what, for the detail of a failure.
    ///
    /// # Errors
    /// When it failed or ran out of time, which is recorded.
    pub async fn run<T>(
        &mut self,
        name: &'static str,
        doing: impl Into<String>,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Stop> {
        self.run_within(self.timeout, name, doing, work).await
    }

    /// As [`Self::run`], with a time-out of its own.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_within<T>(
        &mut self,
        limit: Duration,
        name: &'static str,
        doing: impl Into<String>,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Stop> {
        let begun = Instant::now();
        let heard = self.heard.octets();
        let until = (begun + limit).min(self.end);
        let doing = doing.into();
        let result = tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| {
            let waited = (until - begun).as_secs_f32();
            Err(Fault::new(
                Class::Timeout,
                match self.heard.octets() - heard {
                    0 => format!("no answer within {waited:.1} s"),
                    some => format!("{some} octets came, but no complete answer within {waited:.1} s"),
                },
            ))
        });
        self.settle(
            name,
            begun,
            result.map_err(|fault| Fault { detail: format!("{doing}: {}", fault.detail), ..fault }),
        )
    }

    /// A run within this one: what it does in many steps becomes one of ours by [`Self::settle_group`].
    pub fn group(&self) -> Self {
        Self { secrets: self.secrets.clone(), heard: self.heard.clone(), ..Self::new(self.timeout, self.end) }
    }

    /// Records a group that began at `begun` as one step, with the words of the step in it that failed.
    ///
    /// # Errors
    /// When it failed.
    pub fn settle_group<T>(
        &mut self,
        name: &'static str,
        begun: Instant,
        group: Self,
        result: Result<T, Stop>,
    ) -> Result<T, Stop> {
        self.secrets = group.secrets;
        group.findings.into_iter().for_each(|finding| self.found(finding));
        let failure = group.failure.unwrap_or_else(|| Fault::new(Class::Protocol, "failed"));
        self.settle(name, begun, result.map_err(|Stop| failure))
    }

    fn settle<T>(&mut self, name: &'static str, begun: Instant, result: Result<T, Fault>) -> Result<T, Stop> {
        let ms = begun.elapsed().as_secs_f32() * 1_000.0;
        match result {
            Ok(value) => {
                self.record(name, StepResult::Ok, "", String::new(), ms);
                Ok(value)
            }
            Err(fault) => Err(self.fail(name, fault, ms)),
        }
    }

    fn fail(&mut self, name: &'static str, fault: Fault, ms: f32) -> Stop {
        let fault = Fault { detail: self.censored(fault.detail), ..fault };
        self.record(name, StepResult::Failed, fault.class.word(), fault.detail.clone(), ms);
        self.failure.get_or_insert(fault);
        Stop
    }

    /// Fails at once: the check cannot run as it is configured.
    pub fn misconfigured(&mut self, what: impl Into<String>) -> Stop {
        self.fail("config", Fault::new(Class::Config, what), 0.0)
    }

    /// A remark on the step done last.
    pub fn note(&mut self, remark: impl Into<String>) {
        let remark = self.censored(remark.into());
        if let Some(step) = self.done.last_mut() {
            step.detail = remark;
        }
    }

    /// Something was found that is worth keeping beside the outcome. Past [`FINDINGS_MAX`] it is not kept.
    pub fn found(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// What was found.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// What the first failure makes of the run.
    pub(super) fn failed_as(&self) -> Option<ProbeOutcome> {
        self.failure.as_ref().map(|fault| match fault.class {
            Class::Missing => ProbeOutcome::Missing,
            Class::Vantage | Class::DeadList => ProbeOutcome::VantageFault,
            _ => ProbeOutcome::Failed,
        })
    }

    /// Every step: in the planned order, with the unreached ones `unknown`.
    pub fn into_steps(self) -> Vec<Step> {
        let mut done = self.done;
        let mut steps = Vec::new();
        for name in self.plan {
            let step = done.iter().position(|step| step.name == name).map(|at| done.remove(at));
            steps.push(step.unwrap_or_else(|| Step {
                name: name.to_owned(),
                result: StepResult::Unknown,
                error_class: String::new(),
                detail: String::new(),
                ms: 0.0,
            }));
        }
        done.append(&mut steps);
        done
    }

    fn record(&mut self, name: &'static str, result: StepResult, error_class: &str, detail: String, ms: f32) {
        self.done.push(Step { name: name.to_owned(), result, error_class: error_class.to_owned(), detail, ms });
    }

    fn censored(&self, detail: String) -> String {
        self.secrets.iter().fold(detail, |detail, secret| detail.replace(secret, "***"))
    }
}

/// Does many steps as one.
pub(super) async fn grouped<T>(
    steps: &mut Steps,
    name: &'static str,
    work: impl AsyncFnOnce(&mut Steps) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let begun = Instant::now();
    let mut group = steps.group();
    let result = work(&mut group).await;
    steps.settle_group(name, begun, group, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Steps {
        let mut steps = Steps::new(Duration::from_millis(100), Instant::now() + Duration::from_secs(3_600));
        steps.plan(&["tcp", "banner", "quit"]);
        steps
    }

    #[tokio::test]
    async fn steps_after_the_first_failure_are_unknown() {
        let mut steps = steps();
        steps.run("tcp", "connecting", async { Ok(()) }).await.unwrap();
        let silent = std::future::pending::<Result<(), Fault>>();
        assert_eq!(steps.run("banner", "waiting for the greeting of mx:25", silent).await, Err(Stop));
        let seen: Vec<_> =
            steps.into_steps().into_iter().map(|s| (s.name, s.result, s.error_class, s.detail)).collect();
        let step = |name: &str, result, class: &str, detail: &str| {
            (name.to_owned(), result, class.to_owned(), detail.to_owned())
        };
        let detail = "waiting for the greeting of mx:25: no answer within 0.1 s";
        assert_eq!(
            seen,
            [
                step("tcp", StepResult::Ok, "", ""),
                step("banner", StepResult::Failed, "timeout", detail),
                step("quit", StepResult::Unknown, "", ""),
            ]
        );
    }

    #[tokio::test]
    async fn a_run_ends_however_long_its_steps_may_take() {
        let mut steps = Steps::new(Duration::from_secs(3_600), Instant::now() + Duration::from_millis(100));
        let silent = std::future::pending::<Result<(), Fault>>();
        assert_eq!(steps.run("banner", "waiting", silent).await, Err(Stop));
        assert_eq!(steps.into_steps()[0].error_class, "timeout");
    }

    #[tokio::test]
    async fn a_password_that_the_peer_echoes_is_not_shown() {
        let mut steps = steps();
        steps.hide("hunter2");
        let echo = async { Err::<(), _>(Fault::new(Class::Rejected, "500 what is AUTH hunter2 aHVudGVyMg==")) };
        let _ = steps.run("tcp", "login", echo).await;
        assert_eq!(steps.into_steps()[0].detail, "login: 500 what is AUTH *** ***");
    }
}
