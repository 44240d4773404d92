//! Lines that stand for others: syslog daemons write one line for the repetitions of a message.
//!
//! rsyslog repeats the text, `postfix/smtpd[7]: message repeated 2 times: [ warning: … ]`; the daemons of BSD say
//! `last message repeated 2 times` and mean the line before.

/// Repetitions of a message that become events; what a line claims beyond is not believed.
const MAX_TIMES: usize = 1_000;

/// What a line says of repetitions.
#[derive(Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The message in the brackets came so many times more: the line without the words around it.
    Message(String, usize),
    /// The line before came so many times more.
    LineBefore(usize),
}

impl Repeated {
    /// Reads a line that no dialect knows as it is.
    pub fn read(line: &str) -> Option<Self> {
        const LAST: &str = "last message repeated ";
        const MESSAGE: &str = "message repeated ";
        let at = memchr::memmem::find(line.as_bytes(), MESSAGE.as_bytes())?;
        let (before, after) = line.split_at_checked(at)?;
        let (times, rest) = after.get(MESSAGE.len()..)?.split_once(" time")?;
        let times = times.parse::<usize>().ok()?.min(MAX_TIMES);
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        if let Some(inner) = rest.strip_prefix(": [ ").or_else(|| rest.strip_prefix(": [")) {
            let inner = inner.strip_suffix(']').unwrap_or(inner);
            return Some(Self::Message([before, inner.trim_end()].concat(), times));
        }
        // The words must be all that the line says: a message may hold them too.
        let is_all = line.get(before.len().checked_sub(LAST.len() - MESSAGE.len())?..)?.starts_with(LAST);
        (is_all && rest.trim().is_empty()).then_some(Self::LineBefore(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_told_from_messages_that_speak_of_them() {
        let read = Repeated::read;
        assert_eq!(
            read("Nov 22 10:16:48 mx postfix/smtpd[7]: message repeated 2 times: [ warning: a[192.0.2.1]: x]"),
            Some(Repeated::Message("Nov 22 10:16:48 mx postfix/smtpd[7]: warning: a[192.0.2.1]: x".to_owned(), 2))
        );
        assert_eq!(read("Nov 22 10:16:48 mx last message repeated 3 times"), Some(Repeated::LineBefore(3)));
        assert_eq!(read("Nov 22 10:16:48 mx last message repeated 99999 times"), Some(Repeated::LineBefore(1_000)));
        assert_eq!(read("Nov 22 10:16:48 mx a[1]: the last message repeated 3 times was odd"), None);
        assert_eq!(read("message repeated"), None);
        assert_eq!(read("message repeated 1 time"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in ".{0,20}(last )?message repeated [0-9]{0,3} times?(: \\[ ?)?.{0,20}") {
            let _ = Repeated::read(&line);
        }
    }
}
