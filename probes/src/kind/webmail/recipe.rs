//! How to find one's way in a webmail: a recipe is data, so that a further one is an entry here.

/// The way through a webmail. Addresses are relative to the check's `url`.
#[derive(Debug, PartialEq, Eq)]
pub struct Recipe {
    /// As the configuration names it.
    pub name: &'static str,
    /// The page with the login form.
    pub login: &'static str,
    /// The login form's fields.
    pub user: &'static str,
    /// The login form's fields.
    pub password: &'static str,
    /// A part of the address that the form which ends the session is sent to. Only those logged in see it.
    pub logout: &'static str,
    /// The page with the form for a new message.
    pub compose: &'static str,
    /// The compose form's fields.
    pub to: &'static str,
    /// The compose form's fields.
    pub subject: &'static str,
    /// The compose form's fields.
    pub text: &'static str,
}

/// The recipes.
const RECIPES: &[Recipe] = &[Recipe {
    name: "varde",
    login: "login",
    user: "address",
    password: "password",
    logout: "logout",
    compose: "compose",
    to: "to",
    subject: "subject",
    text: "text",
}];

/// The recipe of this name.
pub fn recipe(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}
