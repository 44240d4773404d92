//! What a run finds out beside its own outcome: facts about earlier runs and about the world, for events.

use aggregator::event::Time;

/// A fact that a run came across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The message of an earlier run, which had said `missing`, has come after all.
    Late {
        /// The run that had sent it.
        run_id: String,
        /// When that run began.
        ts: Time,
        /// How long the message took.
        delay_ms: u64,
        /// Where it came to.
        folder: String,
    },
    /// An address or a domain is on a blocklist.
    Listed {
        /// What was looked up.
        subject: String,
        /// The list.
        list: String,
        /// Its answer.
        answer: String,
        /// Its reason.
        reason: String,
    },
}

/// A run of this watcher that had said `missing`, whose message may still come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The run.
    pub run_id: String,
    /// When it began.
    pub ts: Time,
}

impl Finding {
    /// A listing in words.
    pub(super) fn listing(&self) -> Option<String> {
        match self {
            Self::Listed { subject, list, answer, reason } if reason.is_empty() => {
                Some(format!("{subject} is on {list} ({answer})"))
            }
            Self::Listed { subject, list, answer, reason } => {
                Some(format!("{subject} is on {list} ({answer}): {reason}"))
            }
            Self::Late { .. } => None,
        }
    }
}
