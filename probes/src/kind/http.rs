//! `http`: a URL answers with the expected status, and its text holds what it should.

use aggregator::event::ProbeOutcome;

use super::access::Probe;
use super::browser::Browser;
use super::{Kind, Need, Steps, Stop};
use crate::conversation::{Class, Fault};

pub(super) const KIND: Kind = Kind {
    name: "http",
    title: "HTTP: status and expected text",
    patience: 3,
    needs: &[Need::Url],
    run: |probe, steps| Box::pin(run(probe, steps)),
};

async fn run(probe: &Probe<'_>, steps: &mut Steps) -> Result<ProbeOutcome, Stop> {
    Browser::plan(probe, steps);
    steps.plan(&["get"]);
    let mut browser = Browser::open(probe, steps).await?;
    let url = probe.check.url.as_deref().unwrap_or_default();
    let work = async {
        let page = browser.get(browser.at(url)?).await?;
        if page.status != probe.check.status.unwrap_or(200) {
            return Err(page.unexpected());
        }
        match &probe.check.expect {
            Some(text) if !page.body.contains(text) => {
                Err(Fault::said(Class::Content, &format!("the page does not contain {text:?}; it begins"), &page.body))
            }
            _ => Ok(()),
        }
    };
    steps.run("get", format!("GET {url}"), work).await?;
    Ok(ProbeOutcome::Ok)
}
