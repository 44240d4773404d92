//! What every kind needs of its check: the way to the server, its certificate, an account.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use aggregator::event::Time;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use tokio::net::TcpStream;

use super::{Context, Steps, Stop};
use crate::config::{Check, Target, Tls};
use crate::conversation::{self, Certificate, Class, Conversation, Fault, printable};

/// Passwords and root certificates are small files; what is larger is none.
const PASSWORD_MAX: usize = 4 * 1024;

/// A certificate with fewer days left gets a remark.
const EXPIRY_WARNING_DAYS: i64 = 14;

/// One run of a check.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    /// What is checked.
    pub check: &'a Check,
    /// The mail system that it belongs to.
    pub target: &'a Target,
    /// What the run was told.
    pub cx: &'a Context,
}

/// User name and password.
#[derive(Clone)]
pub struct Login {
    /// The address.
    pub user: String,
    /// Its password. Never shown.
    pub password: String,
}

impl<'a> Probe<'a> {
    /// How long one step may take.
    pub fn timeout(&self) -> Duration {
        self.check.timeout()
    }

    /// This run, looking at another target.
    pub fn of(&self, target: &'a Target) -> Probe<'a> {
        Probe { target, ..*self }
    }

    /// This run, looking at another check's place.
    ///
    /// # Errors
    /// When the target has no check of that name.
    pub fn at(&self, name: &str, steps: &mut Steps) -> Result<Probe<'a>, Stop> {
        match self.target.check(name) {
            Some(check) => Ok(Probe { check, ..*self }),
            None => Err(steps.misconfigured(format!("there is no check {name:?} in target {:?}", self.target.name))),
        }
    }

    /// `host:port` of the server, as the configuration has it.
    pub fn place(&self) -> String {
        let port = self.check.port.unwrap_or_default();
        match &self.check.host {
            Some(host) if host.contains(':') => format!("[{host}]:{port}"),
            Some(host) => format!("{host}:{port}"),
            None => self.check.url.clone().unwrap_or_default(),
        }
    }

    /// Whether the configured host is a name, so that there is a `dns` step.
    pub fn host_is_name(&self) -> bool {
        self.check.host.as_ref().is_some_and(|host| host.parse::<IpAddr>().is_err())
    }

    /// Connects: the steps `dns` (when the host is a name) and `tcp`.
    ///
    /// # Errors
    /// When a step failed.
    pub async fn connect(&self, steps: &mut Steps) -> Result<Conversation, Stop> {
        let (Some(host), Some(port)) = (&self.check.host, self.check.port) else {
            return Err(steps.misconfigured(format!("check {:?} needs `host` and `port`", self.check.name)));
        };
        let addresses = resolve(host, port, steps).await?;
        let heard = steps.heard();
        let work = async move { Conversation::new(dial(&addresses).await?, heard) };
        steps.run("tcp", format!("connecting to {}", self.place()), work).await
    }

    /// The file of roots for the target's certificates.
    pub fn trust(&self) -> Option<PathBuf> {
        self.target.trust.as_ref().map(|path| self.cx.base_dir.join(path))
    }

    /// The TLS that this check expects.
    ///
    /// # Errors
    /// When the roots cannot be read.
    pub async fn tls(&self) -> Result<conversation::Tls, Fault> {
        let name = self.check.server_name.as_ref().or(self.check.host.as_ref());
        conversation::Tls::new(self.trust().as_deref(), name.map_or("", String::as_str)).await
    }

    /// Goes on over TLS: the step `tls`.
    ///
    /// # Errors
    /// When the handshake failed.
    pub async fn secure(
        &self,
        conversation: Conversation,
        steps: &mut Steps,
    ) -> Result<(Conversation, Certificate), Stop> {
        let work = async { conversation.start_tls(&self.tls().await?).await };
        let (conversation, certificate) =
            steps.run("tls", format!("TLS handshake with {}", self.place()), work).await?;
        steps.note(remark(&certificate));
        Ok((conversation, certificate))
    }

    /// The names of the steps up to the greeting.
    pub fn plan_opening(&self, steps: &mut Steps) {
        if self.host_is_name() {
            steps.plan(&["dns"]);
        }
        steps.plan(if self.check.tls == Tls::Tls { &["tcp", "tls", "banner"] } else { &["tcp", "banner"] });
    }

    /// Connects, over TLS when it comes from the first octet: the steps `dns`, `tcp`, `tls`.
    ///
    /// # Errors
    /// When a step failed.
    pub async fn open(&self, steps: &mut Steps) -> Result<Conversation, Stop> {
        let conversation = self.connect(steps).await?;
        match self.check.tls {
            Tls::Tls => Ok(self.secure(conversation, steps).await?.0),
            Tls::Starttls | Tls::None => Ok(conversation),
        }
    }

    /// The account of this check.
    ///
    /// # Errors
    /// When none is configured or its password cannot be read.
    pub async fn login(&self, steps: &mut Steps) -> Result<Login, Stop> {
        let Some(address) = &self.check.account else {
            return Err(steps.misconfigured(format!("check {:?} needs an `account`", self.check.name)));
        };
        self.login_as(address, steps).await
    }

    /// The account of this address, of the target.
    ///
    /// # Errors
    /// As [`Self::login`].
    pub async fn login_as(&self, address: &str, steps: &mut Steps) -> Result<Login, Stop> {
        let Some(account) = self.target.account(address) else {
            return Err(steps.misconfigured(format!("target {:?} has no account {address:?}", self.target.name)));
        };
        let path = self.cx.base_dir.join(&account.password_file);
        let password = match tokio::fs::read_to_string(&path).await {
            Ok(text) => text.lines().next().unwrap_or_default().to_owned(),
            Err(error) => {
                return Err(
                    steps.misconfigured(format!("reading the password of {address} from {}: {error}", path.display()))
                );
            }
        };
        if password.is_empty() || password.len() > PASSWORD_MAX {
            return Err(steps.misconfigured(format!("{} holds no password of {address}", path.display())));
        }
        steps.hide(&password);
        steps.hide(&format!("\0{address}\0{password}"));
        Ok(Login { user: address.to_owned(), password })
    }
}

/// A certificate that ends soon is worth a word before it fails.
pub(super) fn remark(certificate: &Certificate) -> String {
    match certificate.days_left(Time::now()) {
        days if days < EXPIRY_WARNING_DAYS => {
            format!("the certificate of {} ends in {days} days; renew it", certificate.subject)
        }
        _ => String::new(),
    }
}

/// The addresses of a host: the step `dns`, when the host is a name.
pub(super) async fn resolve(host: &str, port: u16, steps: &mut Steps) -> Result<Vec<SocketAddr>, Stop> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let work = async {
        let found = resolver()?.lookup_ip(host).await.map_err(|error| dns_fault(&error))?;
        Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
    };
    steps.run("dns", format!("looking up {host}"), work).await
}

/// A resolver as the system is set up, with an empty cache: a probe asks anew.
fn resolver() -> Result<TokioResolver, Fault> {
    TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| Fault::said(Class::Config, "the system's resolver is not set up", &error.to_string()))
}

fn dns_fault(error: &NetError) -> Fault {
    match error {
        NetError::Timeout => Fault::new(Class::DnsTimeout, "no name server answered in time"),
        error if error.is_nx_domain() => Fault::new(Class::NxDomain, "the name does not exist"),
        error if error.is_no_records_found() => Fault::new(Class::NoRecords, "the name has no such record"),
        error => Fault::said(Class::DnsFailed, "the name servers failed", &printable(&error.to_string())),
    }
}

/// Connects to the first address that takes the connection.
pub(super) async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, Fault> {
    let mut first = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => first = first.or_else(|| Some(Fault::from(error))),
        }
    }
    Err(first.unwrap_or_else(|| Fault::new(Class::NoRecords, "the name has no address")))
}
