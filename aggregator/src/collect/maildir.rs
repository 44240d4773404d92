//! A maildir: messages are files, flags are in their names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::config::{Done, SourceConfig};
use super::place::{At, Fault, Item};
use crate::source::mailbox::{Message, files, read_file};
use crate::source::origin::Digest;

/// A maildir, and what becomes of its reports.
pub(super) struct Maildir {
    dir: PathBuf,
    done: Done,
    done_folder: String,
}

impl Maildir {
    pub(super) fn new(source: &SourceConfig) -> Self {
        Self {
            dir: source.maildir.clone().unwrap_or_default(),
            done: source.done,
            done_folder: source.done_folder.clone().unwrap_or_default(),
        }
    }

    pub(super) async fn list(&self) -> Result<Vec<Item>, Fault> {
        let (dir, done) = (self.dir.clone(), self.done);
        blocking(self.dir.clone(), move || {
            let mut found = files(&dir)?;
            // What is marked has been done with.
            found.retain(|path| done != Done::Seen || !is_seen(path));
            let item = |path: PathBuf| {
                let name = unique(&path);
                Item { key: Digest::of_both(dir.as_os_str().as_encoded_bytes(), name.as_bytes()), at: At::File(path) }
            };
            Ok(found.into_iter().map(item).collect())
        })
        .await
    }

    pub(super) async fn fetch(&self, path: &Path) -> Result<Option<Message>, Fault> {
        let file = path.to_owned();
        blocking(file.clone(), move || match read_file(&file) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        })
        .await
    }

    pub(super) async fn done(&self, items: &[Item]) -> Result<(), Fault> {
        let (dir, done, folder) = (self.dir.clone(), self.done, self.dir.join(&self.done_folder));
        let items = items.to_vec();
        blocking(self.dir.clone(), move || {
            if done == Done::Move {
                for name in ["new", "cur", "tmp"] {
                    fs::create_dir_all(folder.join(name))?;
                }
            }
            for item in items {
                let At::File(path) = item.at else { continue };
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let result = match done {
                    Done::Seen => fs::rename(&path, dir.join("cur").join(marked(&name))),
                    Done::Move => fs::rename(&path, folder.join("cur").join(marked(&name))),
                    Done::Delete => fs::remove_file(&path),
                    Done::Keep => Ok(()),
                };
                match result {
                    // Somebody has moved it meanwhile: the next round finds it again.
                    Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
            Ok(())
        })
        .await
    }
}

/// The name of a message whatever its flags are.
fn unique(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(":2,").next().unwrap_or_default().to_owned()
}

fn is_seen(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split_once(":2,").is_some_and(|(_, flags)| flags.contains('S'))
}

/// The name with the flag of a message that was seen; flags stand in the order of the alphabet.
fn marked(name: &str) -> String {
    let (unique, flags) = name.split_once(":2,").unwrap_or((name, ""));
    let mut flags: Vec<char> = flags.chars().chain(['S']).collect();
    flags.sort_unstable();
    flags.dedup();
    [unique, ":2,", &flags.into_iter().collect::<String>()].concat()
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Fault> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.unwrap_or_else(|why| Err(io::Error::other(why))).map_err(|source| Fault::Disk { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_added_in_order_and_the_name_stays() {
        assert_eq!(marked("1.x"), "1.x:2,S");
        assert_eq!(marked("1.x:2,FT"), "1.x:2,FST");
        assert_eq!(marked("1.x:2,S"), "1.x:2,S");
        assert!(is_seen(Path::new("cur/1.x:2,FS")) && !is_seen(Path::new("new/1.S")));
        assert_eq!(unique(Path::new("cur/1.x:2,FS")), "1.x");
    }
}
