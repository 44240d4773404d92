//! The engine project's own release, over HTTPS, resumed where it was broken off.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;

use super::digest::Expected;
use super::{Attempt, FetchOptions, Phase, check_and_unpack};

/// The archive of the pinned version.
pub(super) const URL: &str =
    "https://github.com/chdb-io/chdb-core/releases/download/v26.7.3/linux-x86_64-libchdb.tar.gz";
const DIGEST: Expected = Expected::Sha256Hex("bc33260c32acf78eade2ac41a9115f38e00404651fa42e3bb4c419e4f011c031");
/// Broken off so often in a row without a byte, it is given up.
const ATTEMPTS: u32 = 4;
const CONNECT: Duration = Duration::from_secs(15);
/// A server that sends nothing for this long has gone.
const SILENCE: Duration = Duration::from_secs(30);
/// No archive of the engine is larger.
const MAX_ARCHIVE_BYTES: u64 = 1 << 30;

/// Downloads the archive and unpacks it.
pub(super) async fn fetch(url: &str, folder: &Path, library: &Path, options: &FetchOptions) -> Result<(), Attempt> {
    fetch_pinned(url, DIGEST, folder, library, options).await
}

pub(super) async fn fetch_pinned(
    url: &str,
    digest: Expected,
    folder: &Path,
    library: &Path,
    options: &FetchOptions,
) -> Result<(), Attempt> {
    let client = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build()?;
    let part = folder.join("release.part");
    let mut left = ATTEMPTS;
    loop {
        let before = size(&part).await;
        match download(&client, url, &part, options).await {
            Ok(()) => break,
            Err(failed) => {
                let broken_off = matches!(&failed, Attempt::Http(error) if !error.is_builder());
                left = if size(&part).await > before { ATTEMPTS } else { left - 1 };
                if !broken_off || left == 0 {
                    return Err(failed);
                }
            }
        }
    }
    check_and_unpack(part, digest, library, options).await
}

async fn size(part: &Path) -> u64 {
    tokio::fs::metadata(part).await.map_or(0, |file| file.len())
}

/// One request, from where the file ends.
async fn download(client: &reqwest::Client, url: &str, part: &Path, options: &FetchOptions) -> Result<(), Attempt> {
    let have = size(part).await;
    let mut request = client.get(url);
    if have > 0 {
        request = request.header(RANGE, ["bytes=", &have.to_string(), "-"].concat());
    }
    let answer = request.send().await?;
    let resumed = answer.status() == StatusCode::PARTIAL_CONTENT;
    match answer.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
        // The file is whole already, or is another one: the digest decides.
        StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => return Ok(()),
        other => return Err(Attempt::Status(other)),
    }
    let start = if resumed { range_start(answer.headers().get(CONTENT_RANGE)).unwrap_or(have) } else { 0 };
    let total = answer.content_length().map(|rest| start + rest);
    let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(part).await?;
    file.set_len(start).await?;
    tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(start)).await?;
    let mut done = start;
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                file.sync_data().await?;
                return Err(error.into());
            }
        };
        done += piece.len() as u64;
        if done > MAX_ARCHIVE_BYTES {
            tokio::fs::remove_file(part).await?;
            return Err(Attempt::Digest);
        }
        file.write_all(&piece).await?;
        options.tell(Phase::Download, done, total);
    }
    file.sync_data().await?;
    Ok(())
}

/// Where the server's part begins: `bytes 100-199/200`.
fn range_start(header: Option<&reqwest::header::HeaderValue>) -> Option<u64> {
    header?.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
