//! Capabilities, TLS, logging in, ENABLE.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Done, EndReason, Expect, Outcome, Session, State, bad, no, ok};
use crate::login::{Credentials, LoginVerdict};

/// Wrong passwords before the session ends.
const FAILURES: u32 = 5;

impl Session {
    /// What is there, and only what is there.
    pub(super) fn capabilities(&self) -> String {
        let mut names = vec!["IMAP4rev2", "IMAP4rev1", "LITERAL+", "ID", "ENABLE", "SASL-IR"];
        match &self.state {
            State::NotAuthenticated | State::Ended(_) => {
                if !self.facts.tls {
                    names.push("STARTTLS");
                }
                names.push(if self.may_log_in() { "AUTH=PLAIN" } else { "LOGINDISABLED" });
            }
            State::Authenticated(_) | State::Selected(..) => names.extend([
                "IDLE",
                "NAMESPACE",
                "UIDPLUS",
                "MOVE",
                "UNSELECT",
                "CHILDREN",
                "SPECIAL-USE",
                "CREATE-SPECIAL-USE",
                "LIST-EXTENDED",
                "LIST-STATUS",
                "ESEARCH",
                "SEARCHRES",
                "WITHIN",
                "CONDSTORE",
                "MULTIAPPEND",
                "QUOTA",
                "QUOTA=RES-STORAGE",
                "STATUS=SIZE",
            ]),
        }
        names.join(" ")
    }

    /// Passwords cross the network over TLS only; on this machine they cross none.
    fn may_log_in(&self) -> bool {
        self.facts.tls || self.facts.loopback
    }

    pub(super) fn start_tls(&mut self) -> Done {
        match (&self.state, self.facts.tls) {
            (_, true) => bad("[CLIENTBUG] TLS has begun already"),
            (State::NotAuthenticated, false) => {
                self.expect = Expect::Tls;
                ok("Begin TLS now")
            }
            (_, false) => bad("[CLIENTBUG] TLS begins before login"),
        }
    }

    pub(super) fn login(&mut self, tag: &str, user: &[u8], password: &[u8]) -> Outcome {
        match self.refusal() {
            Some(refusal) => Outcome::Done(refusal),
            None => self.ask(tag, "LOGIN", user, password),
        }
    }

    pub(super) fn authenticate(&mut self, tag: &str, mechanism: &str, initial: Option<Vec<u8>>) -> Outcome {
        if let Some(refusal) = self.refusal() {
            return Outcome::Done(refusal);
        }
        match (mechanism, initial) {
            ("PLAIN", Some(response)) => self.plain(tag, &response),
            ("PLAIN", None) => {
                self.out.extend_from_slice(b"+ \r\n");
                self.expect = Expect::SaslPlain { tag: tag.to_owned() };
                Outcome::Later
            }
            _ => Outcome::Done(no("[CANNOT] There is no such SASL mechanism here")),
        }
    }

    pub(super) fn sasl_response(&mut self, tag: &str, line: &[u8]) -> Outcome {
        match STANDARD.decode(line.trim_ascii_end()) {
            _ if line == b"*" => Outcome::Done(bad("AUTHENTICATE cancelled")),
            Ok(response) => self.plain(tag, &response),
            Err(_) => Outcome::Done(bad("The response is not base64")),
        }
    }

    /// Why nobody can log in now.
    fn refusal(&self) -> Option<Done> {
        match &self.state {
            State::NotAuthenticated if self.may_log_in() => None,
            State::NotAuthenticated => Some(no("[PRIVACYREQUIRED] Begin TLS before you log in")),
            _ => Some(bad("[CLIENTBUG] You are logged in already")),
        }
    }

    /// RFC 4616: authorisation identity, authentication identity, password.
    fn plain(&mut self, tag: &str, response: &[u8]) -> Outcome {
        let mut parts = response.split(|octet| *octet == 0);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(acting_as), Some(user), Some(password), None) if acting_as.is_empty() || acting_as == user => {
                self.ask(tag, "PLAIN", user, password)
            }
            (Some(_), Some(_), Some(_), None) => {
                Outcome::Done(no("[AUTHORIZATIONFAILED] You may act for yourself only"))
            }
            _ => Outcome::Done(bad("The response is not that of SASL PLAIN")),
        }
    }

    /// Has the login checked; [`Session::admit`] says what became of it.
    fn ask(&mut self, tag: &str, mechanism: &'static str, user: &[u8], password: &[u8]) -> Outcome {
        let user = String::from_utf8_lossy(user).into_owned();
        // What is no UTF-8 is nobody's password; it is checked all the same, so that it counts as a failure.
        let password = String::from_utf8_lossy(password).into_owned();
        let credentials = Some(Credentials { mechanism, user, password });
        self.expect = Expect::Verdict { tag: tag.to_owned(), credentials };
        Outcome::Later
    }

    pub(super) fn admit(&mut self, verdict: LoginVerdict) -> Done {
        match verdict {
            LoginVerdict::Accept(account) => {
                self.user.clone_from(&account.address);
                self.state = State::Authenticated(account);
                ok(["[CAPABILITY ", &self.capabilities(), "] You are logged in"].concat())
            }
            LoginVerdict::Wrong => self.failed("[AUTHENTICATIONFAILED] Wrong address or password"),
            LoginVerdict::PutOff => self.failed("[UNAVAILABLE] Too many wrong passwords; try again in ten minutes"),
            LoginVerdict::Unavailable => no("[UNAVAILABLE] The store does not answer; try again later"),
        }
    }

    fn failed(&mut self, text: &'static str) -> Done {
        self.failures += 1;
        if self.failures >= FAILURES {
            self.untagged("BYE Too many wrong passwords");
            self.state = State::Ended(EndReason::LoginFailures);
        }
        no(text)
    }

    pub(super) fn enable(&mut self, names: &[String]) -> Done {
        let mut enabled = String::from("ENABLED");
        for name in names {
            let known = match name.as_str() {
                "IMAP4REV2" => &mut self.rev2,
                "CONDSTORE" => &mut self.condstore,
                _ => continue,
            };
            *known = true;
            enabled.push(' ');
            enabled.push_str(name);
        }
        self.untagged(&enabled);
        ok("ENABLE done")
    }
}
