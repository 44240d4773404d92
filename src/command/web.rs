//! `varde web`.

use std::process::ExitCode;

use ::web::WebContext;

use crate::place::Place;
use crate::{roles, stop};

/// Serves both sites until a signal.
pub async fn run(place: &Place) -> anyhow::Result<ExitCode> {
    let config = place.load()?;
    let stop = stop::on_signal_or_orphaned(place.supervised);
    let (emitter, shipping) = roles::emitter(&config, "web", stop.clone()).await?;
    let watchers = config.probes.watch.watcher.iter().map(|watcher| {
        (watcher.name.clone(), watcher.title.clone().unwrap_or_else(|| watcher.name.clone()), watcher.base_url())
    });
    let context = WebContext {
        site_name: config.site.name.clone(),
        time_zone: config.site.time_zone,
        data_dir: config.dir.clone(),
        watchers: watchers.collect(),
        clickhouse: roles::operator_clickhouse(&config)?,
        operator_key: config.secret(&config.alerts.operator_key_file)?,
        webmail_url: Some(format!("http://{}/", config.mail.web_listen)),
        emitter,
        shutdown: stop,
    };
    let metrics = roles::metrics(&config, "web", context.shutdown.clone());
    ::web::serve(config.web, context).await?;
    metrics.await?;
    shipping.await?;
    Ok(ExitCode::SUCCESS)
}
