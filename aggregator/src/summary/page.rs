//! The figures as a page to print.

use std::fmt::{self, Display, Write};

use super::{Count, Figures, Reported};

/// Width of a domain's name.
const NAME: usize = 34;
/// Width of a name in one of two lists side by side, which fit into 80 columns.
const LIST_NAME: usize = 27;
/// Where the second of them begins.
const SECOND: usize = 42;
/// Width of a text.
const TEXT: usize = 66;

impl Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (Some(from), Some(to)) => writeln!(out, "{} to {}", minute(from), minute(to))?,
            _ => writeln!(out, "No events in {} lines.", self.lines)?,
        }
        if self.reported != Reported::default() {
            self.reported(out)?;
        }
        if self.lines > 0 {
            self.messages(out)?;
        }
        self.domains(out)?;
        columns(out, ("Deferred because of", &self.deferred_by_class), ("Bounced because of", &self.bounced_by_class))?;
        texts(out, "What was said then", &self.replies)?;
        columns(out, ("Not taken because of", &self.rejects), ("Most messages from", &self.senders))?;
        columns(out, ("Failed log-ins from", &self.login_failures_by_network), ("", &[]))?;
        if self.unrecognised > 0 {
            writeln!(out, "\n{} lines no dialect knows (kept in raw_lines), such as", grouped(self.unrecognised))?;
            for sample in &self.unrecognised_samples {
                writeln!(out, "  {}", cut(sample, 76))?;
            }
        }
        Ok(())
    }
}

impl Figures {
    fn messages(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = &self.deliveries;
        writeln!(out)?;
        line(out, "Messages taken in", self.accepted, &size(self.accepted_bytes))?;
        line(out, "  rejected", self.rejected, &share(self.rejected, self.rejected + self.accepted))?;
        for (name, count) in [
            ("  told to come again", self.deferred_at_the_door),
            ("  discarded", self.discarded),
            ("  quarantined", self.quarantined),
        ] {
            if count > 0 {
                line(out, name, count, "")?;
            }
        }
        line(out, "Delivery attempts", of.attempts, "")?;
        line(out, "  delivered", of.delivered, &share(of.delivered, of.attempts))?;
        line(out, "  deferred", of.deferred, &share(of.deferred, of.attempts))?;
        line(out, "  bounced", of.bounced, &share(of.bounced, of.attempts))?;
        if self.expired > 0 {
            line(out, "    after their lifetime", self.expired, "")?;
        }
        if let (Some(median), Some(p95)) = (self.delay_median_ms, self.delay_p95_ms) {
            writeln!(out, "{:<26}{:>12}  19 of 20 within {}", "Median delay", duration(median), duration(p95))?;
        }
        if self.logins + self.login_failures > 0 {
            line(out, "Log-ins", self.logins, "")?;
            line(out, "  failed", self.login_failures, &share(self.login_failures, self.logins + self.login_failures))?;
        }
        Ok(())
    }

    fn reported(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\nReported by mail")?;
        for (name, count, whole) in self.reported.lines() {
            if count > 0 || whole.is_some_and(|whole| whole > 0) {
                line(out, name, count, &whole.map(|whole| share(count, whole)).unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn domains(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domains.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{:<NAME$} {:>12} {:>12} {:>12}", "Most mail went to", "delivered", "deferred", "bounced")?;
        for entry in &self.domains {
            let of = &entry.outcomes;
            let [delivered, deferred, bounced] = [of.delivered, of.deferred, of.bounced].map(grouped);
            writeln!(out, "  {:<32} {delivered:>12} {deferred:>12} {bounced:>12}", cut(&entry.domain, NAME - 2))?;
        }
        Ok(())
    }
}

fn line(out: &mut impl Write, name: &str, count: u64, note: &str) -> fmt::Result {
    writeln!(out, "{}", [&pad(name, 26), &pad_left(&grouped(count), 12), "  ", note].concat().trim_end())
}

/// Two lists side by side; nothing when both are empty.
fn columns(out: &mut impl Write, left: (&str, &[Count]), right: (&str, &[Count])) -> fmt::Result {
    if left.1.is_empty() && right.1.is_empty() {
        return Ok(());
    }
    let head = |(title, list): (&str, &[Count])| if list.is_empty() { String::new() } else { title.to_owned() };
    writeln!(out, "\n{}", [pad(&head(left), SECOND), head(right)].concat().trim_end())?;
    for place in 0..left.1.len().max(right.1.len()) {
        let [left, right] = [left.1, right.1].map(|list| list.get(place).map(entry).unwrap_or_default());
        writeln!(out, "{}", [pad(&left, SECOND), right].concat().trim_end())?;
    }
    Ok(())
}

/// Counted texts, one a line.
fn texts(out: &mut impl Write, title: &str, list: &[Count]) -> fmt::Result {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    for count in list {
        // Postfix says this before the words of every other host.
        let said = count.name.strip_prefix("host *[*] said: ").unwrap_or(&count.name);
        writeln!(out, "{}  {}", pad_left(&grouped(count.count), 11), cut(said, TEXT))?;
    }
    Ok(())
}

fn entry(count: &Count) -> String {
    ["  ", &pad(&cut(&count.name, LIST_NAME), LIST_NAME), " ", &pad_left(&grouped(count.count), 8)].concat()
}

fn pad(text: &str, width: usize) -> String {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n(' ', width.saturating_sub(text.chars().count())));
    padded
}

fn pad_left(text: &str, width: usize) -> String {
    let mut padded = " ".repeat(width.saturating_sub(text.chars().count()));
    padded.push_str(text);
    padded
}

/// The text; its begin and an ellipsis when it is longer.
fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}

fn minute(at: crate::event::Time) -> String {
    at.to_utc().format("%Y-%m-%d %H:%M UTC").to_string()
}

/// A number as people read it: `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.5 %`
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let tenths = (part as f64 * 1000.0 / whole as f64).round() as u64;
    [&(tenths / 10).to_string(), ".", &(tenths % 10).to_string(), " %"].concat()
}

/// `1.5 GB`
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = [" B", " kB", " MB", " GB", " TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    match bytes {
        0 => String::new(),
        _ => format!("{value:.digits$}{}", UNITS[unit]),
    }
}

/// `250 ms`, `2.5 s`, `3 min`, `1.5 h`
fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1e3),
        120_000..7_200_000 => format!("{:.0} min", ms as f64 / 6e4),
        _ => format!("{:.1} h", ms as f64 / 3.6e6),
    }
}
