//! The error budgets in the metrics: looked up when somebody asks, from the status that the pages show, so that both
//! say the same.

use aggregator::metrics::watch::{BURN_RATE, ERROR_BUDGET, ERROR_BUDGET_REMAINING};
use aggregator::metrics::{Collecting, collect};
use futures_util::FutureExt as _;

use super::Handle;
use crate::budget::Seconds;
use crate::config::Config;
use crate::objective;
use crate::status::{ObjectiveStatus, Status};

/// Shows the budgets of this watcher for as long as it is kept. After that they are not known: the next life of the
/// process may have other objectives.
pub struct Shown {
    _collecting: Collecting,
    series: Vec<[String; 3]>,
}

impl Shown {
    /// Begins with what is not known yet.
    pub fn begin(config: &Config, handle: &Handle) -> Self {
        let mut series = Vec::new();
        for target in &config.target {
            for check in &target.check {
                for (window, _) in objective::of_service(target, &check.service) {
                    series.push([target.name.clone(), check.service.clone(), window.to_string()]);
                }
            }
        }
        let asked = handle.clone();
        let collecting = collect(move || {
            let asked = asked.clone();
            async move {
                if let Some(status) = asked.status().await {
                    show(&status);
                }
            }
            .boxed()
        });
        series.iter().for_each(forget);
        Self { _collecting: collecting, series }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.series.iter().for_each(forget);
    }
}

fn show(status: &Status) {
    for service in &status.services {
        for told in &service.objectives {
            let ObjectiveStatus { window, figures, burn_rate_1h, burn_rate_6h, burn_rate_3d, .. } = told;
            let window = window.to_string();
            let labels = [service.target.as_str(), service.service.as_str(), window.as_str()];
            let seconds = |Seconds(micros): Seconds| micros as f64 / 1e6;
            ERROR_BUDGET.with(&labels).set(seconds(figures.budget_s));
            ERROR_BUDGET_REMAINING.with(&labels).set(figures.remaining_s.map_or(f64::NAN, seconds));
            for (over, rate) in [("1h", burn_rate_1h), ("6h", burn_rate_6h), ("3d", burn_rate_3d)] {
                BURN_RATE.with(&[labels[0], labels[1], labels[2], over]).set(rate.unwrap_or(f64::NAN));
            }
        }
    }
}

fn forget(series: &[String; 3]) {
    let labels = series.each_ref().map(String::as_str);
    ERROR_BUDGET.with(&labels).set(f64::NAN);
    ERROR_BUDGET_REMAINING.with(&labels).set(f64::NAN);
    for over in ["1h", "6h", "3d"] {
        BURN_RATE.with(&[labels[0], labels[1], labels[2], over]).set(f64::NAN);
    }
}
