//! `varde mail`.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::cli::Mail;
use crate::{roles, stop};

/// Runs one service of the mail system, or all of them in this process.
pub async fn run(args: &Mail) -> anyhow::Result<ExitCode> {
    let config = args.place.load()?;
    let stop = stop::on_signal_or_orphaned(args.place.supervised);
    let shipper = args.service.map_or_else(|| "mail".to_owned(), |service| format!("mail-{}", service.as_str()));
    let data_dir = config.path("mail");
    let shipping_stop = tokio_util::sync::CancellationToken::new();
    let (emitter, shipping) = roles::emitter(&config, &shipper, shipping_stop.clone()).await?;
    let metrics = roles::metrics(&config, &shipper, stop.clone());
    let mail_config = Arc::new(config.mail);
    let services = args.service.map_or_else(|| mail::Service::ALL.to_vec(), |service| vec![service]);
    let mut running = JoinSet::new();
    for service in services {
        let context = mail::Context { data_dir: data_dir.clone(), emitter: emitter.clone(), shutdown: stop.clone() };
        running.spawn(mail::serve(service, mail_config.clone(), context));
    }
    let mut outcome = Ok(());
    while let Some(ended) = running.join_next().await {
        // One service that ends takes the others with it: a supervisor starts them again together.
        stop.cancel();
        let ended = ended.map_err(anyhow::Error::from).and_then(|ended| ended.map_err(anyhow::Error::from));
        outcome = outcome.and(ended);
    }
    metrics.await?;
    shipping_stop.cancel();
    shipping.await?;
    outcome.map(|()| ExitCode::SUCCESS)
}
