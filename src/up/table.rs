//! What a newcomer sees when all is ready.

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;

use super::unit::Status;
use crate::config::Config;
use crate::init::Account;

/// Prints services, addresses, URLs and accounts.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub fn print(config: &Config, units: &[Status], accounts: &[Account]) {
    let mut services = Table::new();
    services.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["service", "address", "process", "metrics"]);
    for unit in units {
        let pid = unit.pid.map_or_else(|| "starting".to_owned(), |pid| pid.to_string());
        let metrics = config.metrics.listen.get(&unit.spec.name).map_or_else(String::new, ToString::to_string);
        services.add_row([unit.spec.name.as_str(), unit.spec.address.as_str(), pid.as_str(), metrics.as_str()]);
    }
    let mut urls = Table::new();
    urls.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["open this", "to see"]);
    urls.add_row([format!("http://{}/", config.web.public_listen), "the public uptime page".to_owned()]);
    urls.add_row([format!("http://{}/", config.web.operator_listen), "the operator's dashboard".to_owned()]);
    urls.add_row([format!("http://{}/", config.mail.web_listen), "webmail".to_owned()]);
    if let Some(pager) = &config.pager {
        urls.add_row([format!("http://{}/", pager.listen), "what the engineers on call get".to_owned()]);
    }
    let mut logins = Table::new();
    logins.load_preset(UTF8_HORIZONTAL_ONLY).set_header(["account", "password", "for"]);
    for account in accounts {
        logins.add_row([account.address.as_str(), account.password.as_str(), account.role.as_str()]);
    }
    println!("{services}\n\n{urls}\n\n{logins}\n");
    if !config.metrics.listen.is_empty() {
        println!("Prometheus: curl http://ADDRESS/metrics of a service, or scrape them all by file_sd_configs with");
        println!("{}", config.path(super::ready::TARGETS).display());
    }
    println!("Ready. Everything is in {}. Ctrl-C stops it.", config.dir.display());
    println!("Try: varde sql --dir {} \"select service, state, since from current_state\"", config.dir.display());
}
