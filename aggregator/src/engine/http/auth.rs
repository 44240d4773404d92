//! Who asks: names and passwords of this face. The engine itself knows one user.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;

use crate::engine::exception::{Exception, code};
use crate::engine::session::Role;

/// Who may use the engine's HTTP face.
#[derive(Clone)]
pub struct EngineUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
    /// What they may do.
    pub role: Role,
}

impl std::fmt::Debug for EngineUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineUser").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// A name and a password as they were sent.
#[derive(Default)]
pub struct Credentials {
    /// The name; empty when none was sent.
    pub name: String,
    /// The password.
    pub password: String,
}

/// Credentials from headers: ClickHouse's own, or Basic (RFC 7617).
pub fn from_headers(headers: &HeaderMap) -> Option<Credentials> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(name) = text("X-ClickHouse-User") {
        let password = text("X-ClickHouse-Key").unwrap_or_default();
        return Some(Credentials { name: name.to_owned(), password: password.to_owned() });
    }
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some(Credentials { name: name.to_owned(), password: password.to_owned() })
}

/// What the user may do.
///
/// # Errors
/// There is no such user, or the password is another one. Which, is not said.
pub fn check(users: &[EngineUser], given: &Credentials) -> Result<Role, Exception> {
    let user = users.iter().find(|user| user.name == given.name);
    let password = user.map_or("", |user| user.password.as_str());
    // Hashes have one length, so the time tells nothing of the password's length.
    let matches = verify_slices_are_equal(
        blake3::hash(password.as_bytes()).as_bytes(),
        blake3::hash(given.password.as_bytes()).as_bytes(),
    )
    .is_ok();
    match user {
        // An empty password is a fault of the configuration, and lets nobody in.
        Some(user) if matches && !user.password.is_empty() => Ok(user.role),
        _ => Err(Exception::new(
            code::AUTHENTICATION_FAILED,
            "AUTHENTICATION_FAILED",
            "Authentication failed: the password is incorrect, or there is no user with such name.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_name_with_its_password_gets_in() {
        let user = |name: &str, password: &str, role| EngineUser { name: name.into(), password: password.into(), role };
        let users = [user("varde", "a", Role::Full), user("sql", "b", Role::ReadOnly), user("open", "", Role::Full)];
        let check = |name: &str, password: &str| {
            check(&users, &Credentials { name: name.into(), password: password.into() }).map_err(|e| e.code)
        };
        assert_eq!(check("varde", "a"), Ok(Role::Full));
        assert_eq!(check("sql", "b"), Ok(Role::ReadOnly));
        for (name, password) in [("sql", "a"), ("nobody", ""), ("open", ""), ("", ""), ("varde", "")] {
            assert_eq!(check(name, password), Err(code::AUTHENTICATION_FAILED), "{name}");
        }
    }

    #[test]
    fn credentials_are_read_from_either_header() {
        let read = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            from_headers(&headers).map(|given| (given.name, given.password))
        };
        assert_eq!(read("authorization", "Basic c3FsOmE6Yg=="), Some(("sql".into(), "a:b".into())));
        assert_eq!(read("x-clickhouse-user", "varde"), Some(("varde".into(), String::new())));
        assert_eq!(read("authorization", "Bearer x"), None);
    }
}
