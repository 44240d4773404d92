//! How to find one's way in a webmail: a recipe is a file, ours or an operator's, so that a further webmail is a file.
//!
//! A recipe has five journeys: `load`, `login`, `list`, `send`, `logout`. Each is a list of acts, done in order. Texts
//! may use `{user}`, `{password}`, `{to}`, `{subject}`, `{text}`, and what an earlier act has kept.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::conversation::{Class, Fault};

/// The largest file that is read as a recipe.
const RECIPE_MAX: u64 = 64 * 1024;
/// Acts of one journey.
const ACTS_MAX: usize = 50;

/// Those that are ready: the name, and the file.
const RECIPES: &[(&str, &str)] = &[
    ("varde", include_str!("recipes/varde.toml")),
    ("roundcube", include_str!("recipes/roundcube.toml")),
    ("snappymail", include_str!("recipes/snappymail.toml")),
];

/// The way through a webmail. Addresses are relative to the check's `url`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The field that only a login form has: where it shows up later, the login did not last.
    #[serde(default)]
    pub password_field: Option<String>,
    /// Opens the page with the login form.
    pub load: Vec<Act>,
    /// Logs in.
    pub login: Vec<Act>,
    /// Shows the messages.
    pub list: Vec<Act>,
    /// Writes and sends a message. Without it the webmail cannot be the sender of a round trip.
    #[serde(default)]
    pub send: Vec<Act>,
    /// Logs out.
    pub logout: Vec<Act>,
}

/// One act: one of `open`, `submit`, `submit_to`, `follow`, `post`, `arrive`, and what must come of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Act {
    /// Opens this address, and follows its redirects.
    pub open: Option<String>,
    /// Sends the form that has this field.
    pub submit: Option<String>,
    /// Sends the form that is sent to an address which contains this.
    pub submit_to: Option<String>,
    /// Follows the link whose address contains this.
    pub follow: Option<String>,
    /// Sends `json` or the pairs of `fill` to this address, as a script would.
    pub post: Option<String>,
    /// Goes where the last answer led; stays where it led nowhere.
    pub arrive: bool,
    /// Fields that are filled in.
    pub fill: BTreeMap<String, String>,
    /// A body in JSON; what is put in is escaped.
    pub json: Option<String>,
    /// Headers of an `open` or a `post`.
    pub headers: BTreeMap<String, String>,
    /// Keeps what stands between two texts of the answer, under a name.
    pub keep: BTreeMap<String, [String; 2]>,
    /// The page must have a form with this field.
    pub form: Option<String>,
    /// The page must have a form that is sent to an address which contains this.
    pub form_to: Option<String>,
    /// The page must contain all of these.
    pub expect: Vec<String>,
    /// A page that contains one of these says no.
    pub refused: Vec<String>,
    /// A redirect to an address that ends in this says no.
    pub refused_at: Option<String>,
}

/// The names of the recipes that are ready.
fn names() -> String {
    RECIPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// Whether that names a recipe: one that is ready, or a file.
pub fn is_named(name: &str) -> bool {
    is_file(name) || RECIPES.iter().any(|(known, _)| *known == name)
}

fn is_file(name: &str) -> bool {
    name.ends_with(".toml")
}

/// The recipe of this name; one that ends in `.toml` is a file, below `folder` unless it is absolute.
///
/// # Errors
/// When there is none, or it makes no sense.
pub async fn load(name: &str, folder: &Path) -> Result<Recipe, Fault> {
    let unusable = |why: String| Fault::new(Class::Config, format!("recipe {name:?}: {why}"));
    if let Some((_, text)) = RECIPES.iter().find(|(known, _)| *known == name) {
        return parse(text).map_err(unusable);
    }
    if !is_file(name) {
        return Err(unusable(format!("there is none; ready are {}, and files that end in .toml", names())));
    }
    let path = folder.join(name);
    let length = tokio::fs::metadata(&path).await.map_err(|error| unusable(error.to_string()))?.len();
    if length > RECIPE_MAX {
        return Err(unusable(format!("it is larger than {RECIPE_MAX} octets")));
    }
    parse(&tokio::fs::read_to_string(&path).await.map_err(|error| unusable(error.to_string()))?).map_err(unusable)
}

fn parse(text: &str) -> Result<Recipe, String> {
    let recipe: Recipe = toml::from_str(text).map_err(|error| error.to_string())?;
    let journeys = [
        ("load", &recipe.load),
        ("login", &recipe.login),
        ("list", &recipe.list),
        ("send", &recipe.send),
        ("logout", &recipe.logout),
    ];
    for (name, acts) in journeys {
        if acts.len() > ACTS_MAX {
            return Err(format!("{name} has more than {ACTS_MAX} acts"));
        }
        for (index, act) in acts.iter().enumerate() {
            act.check().map_err(|why| format!("{name}[{index}]: {why}"))?;
        }
    }
    Ok(recipe)
}

impl Act {
    fn check(&self) -> Result<(), String> {
        let deeds = [&self.open, &self.submit, &self.submit_to, &self.follow, &self.post];
        let count = deeds.iter().filter(|deed| deed.is_some()).count() + usize::from(self.arrive);
        match count {
            0 => Err("does nothing; give it one of open, submit, submit_to, follow, post, arrive".to_owned()),
            1 if self.json.is_some() && self.post.is_none() => Err("has `json` without `post`".to_owned()),
            1 => Ok(()),
            _ => Err("does several things at once; make an act of each".to_owned()),
        }
    }

    /// What it does, for the words of a failure.
    pub fn deed(&self) -> String {
        let named = [
            ("opening", &self.open),
            ("sending the form with", &self.submit),
            ("sending the form to", &self.submit_to),
            ("following the link to", &self.follow),
            ("posting to", &self.post),
        ];
        let deed = named.into_iter().find_map(|(verb, what)| Some(format!("{verb} {:?}", what.as_ref()?)));
        deed.unwrap_or_else(|| "arriving".to_owned())
    }
}

/// What texts of a recipe may use.
#[derive(Debug, Clone, Default)]
pub struct Words(BTreeMap<String, String>);

impl Words {
    /// Puts a word in.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// A text with the words put in, each as `shape` makes it. Braces around anything else stay.
    pub fn put_into(&self, text: &str, shape: impl Fn(&str) -> String) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            out.push_str(&rest[..at]);
            let word = rest[at + 1..].split_once('}').and_then(|(name, after)| Some((self.0.get(name)?, after)));
            match word {
                Some((value, after)) => {
                    out.push_str(&shape(value));
                    rest = after;
                }
                None => {
                    out.push('{');
                    rest = &rest[at + 1..];
                }
            }
        }
        out.push_str(rest);
        out
    }
}

/// As it stands in a JSON string.
pub fn in_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_that_is_ready_makes_sense() {
        for (name, text) in RECIPES {
            let recipe = parse(text).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(!recipe.send.is_empty() && !recipe.logout.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_recipe_that_makes_no_sense_is_refused_at_its_place() {
        let rest = "list=[]\nlogout=[]\nlogin=[]\n";
        let refused = |text: &str| parse(&format!("{rest}{text}")).unwrap_err();
        assert_eq!(
            refused("[[load]]\nform = \"x\""),
            "load[0]: does nothing; give it one of open, submit, submit_to, follow, post, arrive"
        );
        assert_eq!(
            refused("[[load]]\nopen = \"x\"\narrive = true"),
            "load[0]: does several things at once; make an act of each"
        );
        assert!(refused("[[load]]\nopne = \"x\"").contains("unknown field `opne`"));
    }

    #[test]
    fn words_are_put_in_and_other_braces_stay() {
        let mut words = Words::default();
        words.set("text", "a \"b\"\n");
        let put = words.put_into("{\"plain\": \"{text}\", \"x\": {}}", in_json);
        assert_eq!(put, "{\"plain\": \"a \\\"b\\\"\\n\", \"x\": {}}");
        assert_eq!(words.put_into("{text", str::to_owned), "{text");
    }
}
