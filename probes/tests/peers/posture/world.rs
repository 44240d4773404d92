//! A world to audit: a zone, mail servers, a web server, and everything in order until a case breaks it.

use std::time::Duration;

use aggregator::event::Time;
use aws_lc_rs::digest::{SHA256, digest};
use hickory_resolver::proto::dnssec::DigestType;
use probes::posture::{Options, Report, audit};
use rustls::{SupportedProtocolVersion, version};

use super::super::certificates::Authority;
use super::dns::{self, Zone};
use super::server::{self, Mail, Page};

/// RSA keys of DKIM: of 2048, 1024 and 768 bits.
pub const RSA_2048: &str = "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArBLLAI1hbGj1J2zhhTKIqIdlha+Zo0Jsb5xHoxMadoIrwJqEoKBYXE3+\
     sMTzSOBXGilvMgVWtmTa1b5+yUTVlsbJvNfqXOKpCaaaiV27dKPVU/NGkAZF+Vz2344SvfhT49jy0SEjHpz78/VmLWeL8o4C4FWq\
     j7tq5jeAXTXweW3tgwqXfDQ85cYXLouVyeUrlxlAyCbt5rfXaVecjtat/ns6wQpRU+kuXbREWJRkUQp4EEExgubns5LT6FG6keKr\
     EZ1JRaaT8TlTRD/OZ7NjAj9vHzOlvVn7k1JNs+9lubFNHxAsy4q7SdE/tsP7Nb3T7eoZ7AfR2sPfglsJgltQlQIDAQAB";
pub const RSA_1024: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDh6zomDz8LXOse5XQ481gE915iYCmQTNg2una58+84hFZCaSb7Ga+DZn5HbXQC\
     f/XjTMZdwXnUj5S/YM1biT+W7zWr4WcITGfTA41P3jaVnyiRbExi/GzBSAJFbt+1YcMICynsMEypqWIu4kZkDypY7DiXqL8P3fOH\
     c9HoK456VwIDAQAB";
pub const RSA_768: &str = "v=DKIM1; k=rsa; p=MHwwDQYJKoZIhvcNAQEBBQADawAwaAJhAOKPPUhQ7/46TmJ4M87XJqDAWfB3EIV9BR7rBtbJgClVndkRrWDWbWD+nPit0Cc7P+Av\
     C7uOKq4qPyr+lJ2MAnGUBjTrqjz9OWjyPwfts3L+FOS08t+bAlXwWnXbh4VytwIDAQAB";
pub const ED25519: &str = "v=DKIM1; k=ed25519; p=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The instant of every audit: 2026-06-01.
pub const NOW: Time = Time(1_780_272_000_000_000);

/// A TLSA record: host, usage, selector, matching type, and the data when it is not that of the server's key.
pub type Tlsa = (&'static str, u8, u8, u8, Option<Vec<u8>>);

pub struct World {
    pub zone: Zone,
    pub mx: Mail,
    pub submissions: Mail,
    pub submission: Mail,
    pub pages: Vec<Page>,
    /// The names in the certificate of the MX, its end, the newest TLS that is spoken.
    pub names: Vec<&'static str>,
    pub until: (i32, u8, u8),
    pub newest: &'static SupportedProtocolVersion,
    pub tlsa: Vec<Tlsa>,
    /// Whose certificates the audit does not trust: of the MX, of the web server, of submission.
    pub strangers: Vec<&'static str>,
    pub options: Options,
}

impl World {
    pub fn new() -> Self {
        let options = Options {
            connect: Some([127, 0, 0, 1].into()),
            selectors: vec!["rsa".to_owned(), "ed".to_owned()],
            address_lists: vec!["bl.test".to_owned()],
            domain_lists: vec!["dbl.test".to_owned()],
            timeout: Duration::from_secs(10),
            ..Options::default()
        };
        Self {
            zone: zone(),
            mx: Mail::mx(),
            submissions: Mail { implicit_tls: true, ..Mail::submission() },
            submission: Mail::submission(),
            pages: vec![
                ("/.well-known/mta-sts.txt", 200, "text/plain", policy("enforce", 604_800)),
                ("/mail/config-v1.1.xml", 200, "text/xml", "<clientConfig version=\"1.1\"/>".to_owned()),
            ],
            names: vec!["mx1.example.test", "mx2.example.test"],
            until: (2100, 1, 1),
            newest: &version::TLS13,
            tlsa: ["mx1.example.test", "mx2.example.test"]
                .iter()
                .flat_map(|host| [(*host, 3, 1, 1, None), (*host, 3, 1, 1, Some(vec![7; 32]))])
                .collect(),
            strangers: Vec::new(),
            options,
        }
    }

    pub async fn audit(self) -> Report {
        self.audit_of("example.test").await
    }

    pub async fn audit_of(mut self, domain: &str) -> Report {
        let (known, stranger) = (Authority::new(), Authority::new());
        let authority = |who: &str| if self.strangers.contains(&who) { &stranger } else { &known };
        let (tls, key) = authority("mx").acceptor_for(&self.names, self.until, self.newest);
        let mx = server::mail(self.mx, tls).await;
        let (tls, _) = authority("submission").acceptor_for(&["mail.example.test"], (2100, 1, 1), &version::TLS13);
        let submissions = server::mail(self.submissions, tls.clone()).await;
        let submission = server::mail(self.submission, tls).await;
        let (tls, _) = authority("web").acceptor_for(
            &["mta-sts.example.test", "autoconfig.example.test"],
            (2100, 1, 1),
            &version::TLS13,
        );
        let web = server::web(self.pages, tls).await;
        let service = |port: u16, host: &str| format!("0 1 {port} {host}");
        for (name, port) in [("_submissions", submissions.port), ("_submission", submission.port)] {
            // A case may have put other records there, or a target of its own.
            self.zone.replace(
                &format!("{name}._tcp.example.test"),
                "0 1 0 mail.example.test",
                &service(port, "mail.example.test"),
            );
        }
        for host in ["mx1.example.test", "mx2.example.test"] {
            let records: Vec<_> = self
                .tlsa
                .iter()
                .filter(|record| record.0 == host)
                .map(|(_, usage, selector, matching, data)| {
                    (
                        *usage,
                        *selector,
                        *matching,
                        data.clone().unwrap_or_else(|| digest(&SHA256, &key).as_ref().to_vec()),
                    )
                })
                .collect();
            self.zone.tlsa(&format!("_{}._tcp.{host}", mx.port), &records);
            // The port in these names is not known before: a case says "tlsa" for them.
            for names in [&mut self.zone.insecure, &mut self.zone.failing] {
                if names.contains("tlsa") {
                    names.insert(format!("_{}._tcp.{host}", mx.port));
                }
            }
        }
        let dns = dns::serve(self.zone).await;
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        std::fs::write(&roots, known.pem()).unwrap();
        // A case that names a port itself looks at a server of its own.
        let smtp_port = if self.options.smtp_port == 25 { mx.port } else { self.options.smtp_port };
        let options = Options {
            resolver: Some(dns.address),
            smtp_port,
            https_port: web.port,
            trust: Some(roots),
            ..self.options
        };
        audit(domain, &options, NOW).await.unwrap()
    }
}

pub fn policy(mode: &str, max_age: u32) -> String {
    format!("version: STSv1\r\nmode: {mode}\r\nmx: mx1.example.test\r\nmx: *.example.test\r\nmax_age: {max_age}\r\n")
}

/// The zone of a domain that has everything.
fn zone() -> Zone {
    let mut zone = Zone::default();
    let mut set = |at: &str, kind: &str, values: &[&str]| zone.set(at, kind, values);
    set("example.test", "MX", &["10 mx1.example.test", "20 mx2.example.test"]);
    set("example.test", "NS", &["ns1.example.test", "ns2.example.test"]);
    set("ns1.example.test", "A", &["5.45.100.53"]);
    set("ns2.example.test", "A", &["5.45.200.53"]);
    set("mx1.example.test", "A", &["5.45.100.1"]);
    set("mx1.example.test", "AAAA", &["2a00:1450::1"]);
    set("mx2.example.test", "A", &["5.45.200.1"]);
    set("mail.example.test", "A", &["5.45.100.1", "5.45.200.1"]);
    set("1.100.45.5.in-addr.arpa", "PTR", &["mx1.example.test"]);
    set("1.200.45.5.in-addr.arpa", "PTR", &["mx2.example.test"]);
    set(IP6_PTR, "PTR", &["mx1.example.test"]);
    set("example.test", "TXT", &["v=spf1 mx include:_spf.example.test -all", "another=record"]);
    set("_spf.example.test", "TXT", &["v=spf1 ip4:5.45.0.0/16 ~all"]);
    set("rsa._domainkey.example.test", "TXT", &[RSA_2048]);
    set("ed._domainkey.example.test", "TXT", &[ED25519]);
    set(
        "_dmarc.example.test",
        "TXT",
        &["v=DMARC1; p=reject; rua=mailto:d@example.test,mailto:d@reports.test!10m; ruf=mailto:f@example.test"],
    );
    set("example.test._report._dmarc.reports.test", "TXT", &["v=DMARC1"]);
    set("_mta-sts.example.test", "TXT", &["v=STSv1; id=20260601"]);
    set("_smtp._tls.example.test", "TXT", &["v=TLSRPTv1; rua=mailto:t@example.test"]);
    set(
        "default._bimi.example.test",
        "TXT",
        &["v=BIMI1; l=https://example.test/logo.svg; a=https://example.test/vmc.pem"],
    );
    set("_submissions._tcp.example.test", "SRV", &["0 1 0 mail.example.test"]);
    set("_submission._tcp.example.test", "SRV", &["0 1 0 mail.example.test"]);
    set("_imaps._tcp.example.test", "SRV", &["0 1 993 mail.example.test"]);
    set("_imap._tcp.example.test", "SRV", &["0 1 143 mail.example.test"]);
    set("mta-sts.example.test", "A", &["5.45.100.80"]);
    set("autoconfig.example.test", "A", &["5.45.100.80"]);
    set("autodiscover.example.test", "CNAME", &["autoconfig.example.test"]);
    zone.sign("example.test", (2026, 5, 20), 30, DigestType::SHA256);
    zone
}

pub const IP6_PTR: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.5.4.1.0.0.a.2.ip6.arpa";
