//! What a host says of itself: queues, resources, log lines.

use super::row;

row! {
    /// Depth and age of a queue.
    QueueSample => "queue_samples" {
        /// `incoming`, `active`, `deferred`, `hold` …
        queue: String,
        /// The recipients' domain; empty for all together.
        rcpt_domain: String,
        /// How many messages.
        messages: Option<u64>,
        /// How many octets.
        bytes: Option<u64>,
        /// Age of the oldest.
        oldest_age_s: Option<u64>,
    }
}

row! {
    /// A host's use of its resources.
    ResourceSample => "resource_samples" {
        /// Share of all processors, 0 to 1.
        cpu: Option<f32>,
        /// Share of the memory that is not available, 0 to 1.
        memory: Option<f32>,
        /// Share of the fullest disk, 0 to 1.
        disk: Option<f32>,
        /// Share of the inodes of the fullest disk, 0 to 1.
        inodes: Option<f32>,
        /// Open file descriptors.
        fds: Option<u64>,
        /// Pressure: share of the last 10 s in which some task waited for a processor, in percent.
        psi_cpu: Option<f32>,
        /// The same for memory.
        psi_memory: Option<f32>,
        /// The same for input and output.
        psi_io: Option<f32>,
    }
}

row! {
    /// A log line as it came.
    RawLine => "raw_lines" {
        /// The file, journal or listener that it came from.
        source: String,
        /// Octets before it in that source.
        offset: Option<u64>,
        /// The dialect that read it.
        dialect: String,
        /// Whether that dialect made an event of it, or knows it as one that makes none.
        recognised: bool,
        /// The line.
        line: String,
    }
}
