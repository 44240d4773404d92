//! What a check names beside itself: other checks, another target and its account, a recipe.

use std::path::Path;

use super::{Check, Config, Faults, Target};

impl Check {
    /// Makes the file of a recipe of one's own one below `folder`.
    pub(super) fn resolve_recipe(&mut self, folder: &Path) {
        if let Some(recipe) = self.recipe.as_mut().filter(|recipe| recipe.ends_with(".toml")) {
            *recipe = folder.join(&*recipe).to_string_lossy().into_owned();
        }
    }

    /// What is named must be there, and of the right kind.
    pub(super) fn check_places(&self, config: &Config, target: &Target, at: &str, faults: &mut Faults) {
        let Some(there) = self.to_target.as_ref().map_or(Some(target), |name| config.target(name)) else {
            let name = self.to_target.as_deref().unwrap_or_default();
            faults.add(format!("{at}.to_target"), format!("there is no target \"{name}\""));
            return;
        };
        match &self.to {
            Some(to) if there.account(to).is_none() => faults.add(
                format!("{at}.to"),
                format!("\"{to}\" is no account of target \"{}\"; add a [[target.account]]", there.name),
            ),
            None if self.to_target.is_some() => faults.add(
                format!("{at}.to"),
                format!("is missing; name the account of target \"{}\" that receives", there.name),
            ),
            _ => {}
        }
        for (field, reference, target) in [
            ("webmail", &self.webmail, target),
            ("submission", &self.submission, target),
            ("imap", &self.imap, there),
            ("pop3", &self.pop3, there),
            ("jmap", &self.jmap, there),
        ] {
            match reference.as_ref().map(|name| (name, target.check(name))) {
                Some((name, None)) => {
                    faults.add(format!("{at}.{field}"), format!("\"{name}\" is no check of target \"{}\"", target.name))
                }
                Some((name, Some(check))) if check.kind != field => faults.add(
                    format!("{at}.{field}"),
                    format!("check \"{name}\" is of kind \"{}\", not \"{field}\"", check.kind),
                ),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_names_the_account_and_the_checks_of_the_target_that_receives() {
        let text = |more: &str| {
            format!(
                "[[target]]\nname = \"a\"\n[[target.account]]\naddress = \"a@a\"\npassword_file = \"p\"\n\
                 [[target.check]]\nname = \"s\"\nkind = \"submission\"\nservice = \"s\"\ncadence = \"light\"\n\
                 host = \"h\"\nport = 1\naccount = \"a@a\"\n\
                 [[target.check]]\nname = \"trip\"\nkind = \"round_trip\"\nservice = \"t\"\ncadence = \"audit\"\n\
                 account = \"a@a\"\nsubmission = \"s\"\nimap = \"i\"\n{more}\n\
                 [[target]]\nname = \"b\"\n[[target.account]]\naddress = \"b@b\"\npassword_file = \"p\"\n\
                 [[target.check]]\nname = \"i\"\nkind = \"imap\"\nservice = \"i\"\ncadence = \"light\"\nhost = \"h\"\n\
                 port = 1\naccount = \"b@b\"\n"
            )
        };
        let faults = |more: &str| toml::from_str::<Config>(&text(more)).unwrap().check();
        assert_eq!(faults("to = \"b@b\"\nto_target = \"b\""), []);
        let keys = |more: &str| faults(more).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys("to_target = \"c\""), ["target[0].check[1].to_target"]);
        assert_eq!(keys("to_target = \"b\""), ["target[0].check[1].to"]);
        assert_eq!(keys("to = \"b@b\""), ["target[0].check[1].to", "target[0].check[1].imap"]);
    }

    #[test]
    fn a_recipe_of_ones_own_is_below_the_configuration() {
        let check = |recipe: &str| -> Check {
            let text = "name = \"w\"\nkind = \"webmail\"\nservice = \"w\"\ncadence = \"light\"\nrecipe = ";
            let mut check: Check = toml::from_str(&format!("{text}\"{recipe}\"")).unwrap();
            check.resolve_recipe(Path::new("/etc/varde"));
            check
        };
        assert_eq!(check("own.toml").recipe.as_deref(), Some("/etc/varde/own.toml"));
        assert_eq!(check("roundcube").recipe.as_deref(), Some("roundcube"));
    }
}
