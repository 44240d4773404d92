//! The sender: from the shelf to the intake, in order, until acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{StatusCode, header};
use tokio_util::sync::CancellationToken;

use super::{Error, Pace, Shipping};
use crate::intake::{HEADER_ROWS, HEADER_TABLE, HEADER_TOKEN};
use crate::spool::{Aside, Fault, Shelf};

/// How long one block may take, from the first octet to the acknowledgement.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(120);
/// How much of an answer is read and logged.
const ANSWER_CHARS: usize = 300;

/// Sends what is on a shelf.
pub struct Sender {
    http: reqwest::Client,
    url: String,
    key: String,
    shelf: Arc<Shelf>,
    pace: Pace,
}

/// What was shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shipped {
    /// Segments that are off the shelf: acknowledged, or set aside.
    pub segments: u64,
    /// Rows that were acknowledged.
    pub rows: u64,
}

/// Why nothing can be shipped just now.
#[derive(Debug, thiserror::Error)]
pub enum Stuck {
    /// Nobody answered, or not to the end.
    #[error("the intake cannot be reached: {0}")]
    Network(#[from] reqwest::Error),
    /// It answered that it cannot take anything now, or does not let us in.
    #[error("the intake answered {status}: {said}")]
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its words.
        said: String,
    },
    /// Our own disk.
    #[error("the segment on disk: {0}")]
    Disk(String),
}

/// What the intake made of a block.
enum Answer {
    Stored,
    Refused(String),
}

pub(super) fn client(intake: &str) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(BLOCK_TIMEOUT)
        .build()
        .map_err(|source| Error::Client { intake: intake.to_owned(), source })
}

impl Sender {
    pub(super) fn new(http: reqwest::Client, shipping: &Shipping, shelf: Arc<Shelf>, pace: Pace) -> Self {
        let url = [shipping.intake.trim_end_matches('/'), "/v1/blocks"].concat();
        Self { http, url, key: shipping.key.clone(), shelf, pace }
    }

    /// A sender of its own for a spool that is filled by other means than an emitter.
    ///
    /// # Errors
    /// The HTTP client could not be set up.
    pub fn of_shelf(shipping: &Shipping, shelf: Arc<Shelf>) -> Result<Self, Error> {
        Ok(Self::new(client(&shipping.intake)?, shipping, shelf, Pace::USUAL))
    }

    /// Sends everything that is on the shelf now or comes onto it meanwhile, each block once.
    ///
    /// # Errors
    /// The first reason to wait. What was sent before it is off the shelf; call it again for the rest.
    pub async fn drain(&self) -> Result<Shipped, Stuck> {
        let mut shipped = Shipped::default();
        while let Some(sequence) = self.shelf.oldest() {
            shipped.rows += self.ship(sequence).await?;
            shipped.segments += 1;
        }
        Ok(shipped)
    }

    /// Sends until `stop`, with growing pauses while the intake does not take anything.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut pause = self.pace.retry_first;
        let mut told = false;
        loop {
            let shipped = tokio::select! {
                () = stop.cancelled() => return,
                shipped = self.drain() => shipped,
            };
            let wait = match shipped {
                Ok(shipped) => {
                    if told && shipped.segments > 0 {
                        tracing::info!(to = self.url, rows = shipped.rows, "shipping goes on");
                        told = false;
                    }
                    pause = self.pace.retry_first;
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.shelf.changed() => continue,
                    }
                }
                Err(why) => {
                    if !told {
                        tracing::warn!(to = self.url, segments = self.shelf.len(), %why, "shipping waits; nothing is lost, the segments stay on disk");
                        told = true;
                    }
                    with_jitter(pause)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => pause = (pause * 2).min(self.pace.retry_max),
            }
        }
    }

    /// Sends one segment and takes it off the shelf. How many of its rows were acknowledged.
    async fn ship(&self, sequence: u64) -> Result<u64, Stuck> {
        let disk = |why: std::io::Error| Stuck::Disk(why.to_string());
        let segment = match self.on_disk(move |shelf| shelf.open(sequence)).await? {
            Ok(segment) => Arc::new(segment),
            Err(Fault::Gone) => {
                let removed = self.on_disk(move |shelf| shelf.remove(sequence)).await?;
                return removed.map(|()| 0).map_err(disk);
            }
            Err(Fault::Disk(why)) => return Err(disk(why)),
            Err(fault) => {
                let said = fault.to_string();
                let aside = self.on_disk(move |shelf| shelf.set_aside(sequence, Aside::Corrupt, &said)).await?;
                return aside.map(|()| 0).map_err(disk);
            }
        };
        let (mut rows, mut blocks, mut aside) = (0, 0, None);
        for (index, block) in segment.header.blocks.iter().enumerate() {
            let read = segment.clone();
            let packed = match self.on_disk(move |_| read.block(index)).await? {
                Ok(packed) => packed,
                Err(Fault::Disk(why)) => return Err(disk(why)),
                Err(fault) => {
                    aside = Some((Aside::Corrupt, [&block.table, ": ", &fault.to_string()].concat()));
                    continue;
                }
            };
            match self.post(&segment.header.token(block), &block.table, block.rows, packed).await? {
                Answer::Stored => {
                    rows += block.rows;
                    blocks += 1;
                }
                Answer::Refused(said) => {
                    let said = [&block.table, ": the intake refused it for good: ", &said].concat();
                    aside.get_or_insert((Aside::Refused, said));
                }
            }
        }
        let done = move |shelf: &Shelf| match aside {
            None => shelf.remove(sequence),
            Some((why, said)) => shelf.set_aside(sequence, why, &said),
        };
        self.on_disk(done).await?.map_err(disk)?;
        self.shelf.counters.shipped_rows.fetch_add(rows, Ordering::Relaxed);
        self.shelf.counters.shipped_blocks.fetch_add(blocks, Ordering::Relaxed);
        Ok(rows)
    }

    /// Does `work` where a disk that hangs holds nobody up.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&Shelf) -> T + Send + 'static) -> Result<T, Stuck> {
        let shelf = self.shelf.clone();
        tokio::task::spawn_blocking(move || work(&shelf)).await.map_err(|why| Stuck::Disk(why.to_string()))
    }

    /// Posts one block. Only 422 is for good: every other refusal (a wrong key, a proxy between) can be mended
    /// without us, and then the block is wanted.
    async fn post(&self, token: &str, table: &str, rows: u64, packed: Vec<u8>) -> Result<Answer, Stuck> {
        let answer = self
            .http
            .post(&self.url)
            .bearer_auth(&self.key)
            .header(HEADER_TOKEN, token)
            .header(HEADER_TABLE, table)
            .header(HEADER_ROWS, rows)
            .header(header::CONTENT_ENCODING, "zstd")
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(packed)
            .send()
            .await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(Answer::Stored);
        }
        let said: String = answer.text().await.unwrap_or_default().trim().chars().take(ANSWER_CHARS).collect();
        match status {
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Answer::Refused(said)),
            _ => Err(Stuck::Answer { status, said }),
        }
    }
}

/// Between half of `pause` and all of it, so that shippers do not come back all at once.
fn with_jitter(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness all come at once, which is no harm worth an error.
    let _ = aws_lc_rs::rand::fill(&mut random);
    pause / 2 + pause / 2 * u32::from(random[0]) / 255
}
