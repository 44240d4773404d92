//! A workbench: a folder with a target in it, and short words for what a run saw.

use std::path::Path;
use std::time::Duration;

use aggregator::event::{ProbeOutcome, StepResult};
use probes::config::Target;
use probes::kind::{Awaited, Context, Report};
use tempfile::TempDir;

/// A target with one account, whose password is `secret-7`.
pub struct Bench {
    pub dir: TempDir,
    pub receive_objective: Duration,
    /// The target that a round trip's `to_target` stands for.
    pub receiver: Option<Target>,
    /// Runs that had said `missing`.
    pub awaited: Vec<Awaited>,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("password"), "secret-7\n").unwrap();
        Self { dir, receive_objective: Duration::from_secs(5), receiver: None, awaited: Vec::new() }
    }

    /// The target trusts this authority.
    pub fn trust(&self, pem: &str) {
        std::fs::write(self.dir.path().join("ca.pem"), pem).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A target with these checks, as they would stand in the configuration.
    pub fn target(&self, checks: &str) -> Target {
        let trust = if self.path().join("ca.pem").exists() { "trust = \"ca.pem\"" } else { "" };
        let text = format!("name = \"t\"\n{trust}\n{checks}");
        let mut target: Target = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        if target.account.is_empty() {
            target.account =
                vec![toml::from_str("address = \"audit@example.test\"\npassword_file = \"password\"").unwrap()];
        }
        target
    }

    /// Runs the last check of a target made of `checks`.
    pub async fn run(&self, checks: &str) -> Seen {
        self.run_as("run-1", checks).await
    }

    pub async fn run_as(&self, run_id: &str, checks: &str) -> Seen {
        let target = self.target(checks);
        let cx = Context {
            vantage: "here".to_owned(),
            run_id: run_id.to_owned(),
            receive_objective: self.receive_objective,
            base_dir: self.path().to_owned(),
            receiver: self.receiver.clone().map(Box::new),
            awaited: self.awaited.clone(),
        };
        Seen(probes::kind::run(target.check.last().unwrap(), &target, &cx).await)
    }

    /// Runs a check of this kind on a server on this port of this machine; `more` are further keys.
    pub async fn check(&self, kind: &str, port: u16, more: &str) -> Seen {
        self.run(&check(kind, port, more)).await
    }
}

/// A check of this kind, with the kind as its name.
pub fn check(kind: &str, port: u16, more: &str) -> String {
    format!(
        "[[check]]\nname = \"{kind}\"\nkind = \"{kind}\"\nservice = \"{kind}\"\ncadence = \"light\"\nhost = \"127.0.0.1\"\n\
         port = {port}\nserver_name = \"mx.example.test\"\naccount = \"audit@example.test\"\n{more}\n"
    )
}

/// What a run saw.
pub struct Seen(pub Report);

impl Seen {
    pub fn outcome(&self) -> ProbeOutcome {
        self.0.outcome
    }

    /// `tcp banner! ehlo?`: `!` failed, `?` was not reached.
    pub fn steps(&self) -> String {
        let mark = |result| match result {
            StepResult::Ok => "",
            StepResult::Failed => "!",
            StepResult::Unknown => "?",
        };
        let steps: Vec<_> = self.0.steps.iter().map(|step| format!("{}{}", step.name, mark(step.result))).collect();
        steps.join(" ")
    }

    /// The step that failed, and how: `banner timeout`.
    pub fn failure(&self) -> String {
        let failed = self.0.steps.iter().find(|step| step.result == StepResult::Failed);
        failed.map(|step| format!("{} {}", step.name, step.error_class)).unwrap_or_default()
    }

    /// The words of the failure.
    pub fn detail(&self) -> &str {
        self.0.steps.iter().find(|step| step.result == StepResult::Failed).map_or("", |step| &step.detail)
    }

    /// The remark on a step.
    pub fn note(&self, step: &str) -> &str {
        self.0.steps.iter().find(|known| known.name == step).map_or("", |step| &step.detail)
    }

    #[track_caller]
    pub fn is_ok(&self, steps: &str) {
        assert_eq!((self.outcome(), self.steps().as_str()), (ProbeOutcome::Ok, steps), "{:#?}", self.0);
    }

    #[track_caller]
    pub fn failed(&self, failure: &str) {
        assert_eq!((self.outcome(), self.failure().as_str()), (ProbeOutcome::Failed, failure), "{:#?}", self.0);
    }
}
