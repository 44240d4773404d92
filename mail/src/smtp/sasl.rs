//! PLAIN (RFC 4616) and LOGIN, as steps: a client's line in, the next step out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::login::Credentials;

/// An exchange that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// PLAIN waits for its one response.
    Plain,
    /// LOGIN waits for the user name.
    LoginUser,
    /// LOGIN waits for the password.
    LoginPassword {
        /// The user name.
        user: String,
    },
}

/// What follows a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The client is asked for more: the challenge, in base64.
    Challenge(Exchange, &'static str),
    /// The exchange is complete.
    Done(Credentials),
    /// The response is not one of the mechanism.
    Malformed,
}

impl Exchange {
    /// The exchange of a mechanism, if we have it.
    pub fn begin(mechanism: &str) -> Option<Self> {
        match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => Some(Self::Plain),
            "LOGIN" => Some(Self::LoginUser),
            _ => None,
        }
    }

    /// The step when the client sent no initial response.
    pub fn first(self) -> Step {
        let challenge = match self {
            Self::Plain => "",
            Self::LoginUser => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        };
        Step::Challenge(self, challenge)
    }

    /// The step that follows the client's response, in base64.
    pub fn response(self, line: &str) -> Step {
        let Some(text) = STANDARD.decode(line).ok().and_then(|octets| String::from_utf8(octets).ok()) else {
            return Step::Malformed;
        };
        match self {
            Self::Plain => plain(&text).map_or(Step::Malformed, Step::Done),
            Self::LoginUser => Self::LoginPassword { user: text }.first(),
            Self::LoginPassword { user } => Step::Done(Credentials { mechanism: "LOGIN", user, password: text }),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`. Nobody may act for another: the authzid is empty or the authcid.
fn plain(text: &str) -> Option<Credentials> {
    let mut parts = text.split('\0');
    let (acting_for, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || user.is_empty() || !(acting_for.is_empty() || acting_for == user) {
        return None;
    }
    Some(Credentials { mechanism: "PLAIN", user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_login_end_in_the_same_credentials() {
        let plain = Exchange::Plain.response(&STANDARD.encode("\0ada@varde.test\0secret"));
        let Step::Challenge(login, _) = Exchange::LoginUser.response(&STANDARD.encode("ada@varde.test")) else {
            panic!("LOGIN asks for the password");
        };
        let credentials = |mechanism| {
            Step::Done(Credentials { mechanism, user: "ada@varde.test".to_owned(), password: "secret".to_owned() })
        };
        assert_eq!(plain, credentials("PLAIN"));
        assert_eq!(login.response(&STANDARD.encode("secret")), credentials("LOGIN"));
    }

    #[test]
    fn malformed_responses_are_told_apart_from_wrong_passwords() {
        for line in ["!", "/w==", "AGE=", &STANDARD.encode("bob\0ada\0secret"), &STANDARD.encode("\0a\0b\0c")] {
            assert_eq!(Exchange::Plain.response(line), Step::Malformed, "{line}");
        }
    }
}
