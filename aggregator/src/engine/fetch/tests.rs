//! Getting the engine, from servers and caches of the tests' own.

use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};

use super::digest::Expected;
use super::release::fetch_pinned;
use super::*;

fn options(cache_dir: &Path) -> FetchOptions {
    FetchOptions { library: None, cache_dir: cache_dir.to_owned(), url: None, progress: Arc::new(|_| {}) }
}

/// A small archive in the form of a release, and its digest.
fn archive() -> (Vec<u8>, Expected) {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none()));
    for (path, data) in [("chdb.h", vec![1; 1000]), ("libchdb.so", vec![2; 300_000]), ("../x", vec![3; 10])] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, &data[..]).unwrap();
    }
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let hex = digest.as_ref().iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from_digit(n.into(), 16).unwrap());
    (bytes, Expected::Sha256Hex(hex.collect::<String>().leak()))
}

/// Serves `bytes` in ranges and breaks every answer off after `most` bytes. Gives the ranges asked for.
async fn server(bytes: Vec<u8>, most: usize) -> (String, Arc<Mutex<Vec<usize>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let serve = move |headers: HeaderMap| async move {
        let range = headers.get("range").map(|v| v.to_str().unwrap()[6..].trim_end_matches('-').parse().unwrap());
        let start = range.unwrap_or(0);
        seen.lock().unwrap().push(start);
        if start == bytes.len() {
            return axum::http::StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        let end = bytes.len().min(start + most);
        let mut pieces = vec![Ok(bytes[start..end].to_vec())];
        if end < bytes.len() {
            pieces.push(Err(io::Error::other("broken off")));
        }
        let mut answer = Response::builder().status(if range.is_some() { 206 } else { 200 });
        if range.is_some() {
            answer = answer.header("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()));
        }
        // The pause lets the server send the piece before it learns of the failure.
        let pieces = stream::iter(pieces).then(|piece| async {
            tokio::task::yield_now().await;
            piece
        });
        answer.body(Body::from_stream(pieces)).unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x.tar.gz", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(get(serve))).await });
    (url, asked)
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let (bytes, digest) = archive();
    let (url, asked) = server(bytes.clone(), 120_000).await;
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join(LIBRARY);
    fetch_pinned(&url, digest, dir.path(), &library, &options(dir.path())).await.unwrap();
    assert_eq!(fs::read(&library).unwrap(), vec![2; 300_000]);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [LIBRARY], "only the library is kept");
    assert_eq!(asked.lock().unwrap()[..2], [0, 120_000]);
}

#[tokio::test]
async fn what_a_killed_process_left_behind_is_resumed() {
    let (bytes, digest) = archive();
    let (url, asked) = server(bytes.clone(), usize::MAX / 2).await;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("release.part"), &bytes[..1234]).unwrap();
    fetch_pinned(&url, digest, dir.path(), &dir.path().join(LIBRARY), &options(dir.path())).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [1234]);
}

#[tokio::test]
async fn another_file_is_refused_and_removed() {
    let (mut bytes, digest) = archive();
    bytes[100] ^= 1;
    let (url, _) = server(bytes, usize::MAX / 2).await;
    let dir = tempfile::tempdir().unwrap();
    let refused = fetch_pinned(&url, digest, dir.path(), &dir.path().join(LIBRARY), &options(dir.path())).await;
    assert!(matches!(refused, Err(Attempt::Digest)), "{refused:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_library_named_by_the_operator_is_used_or_its_absence_told() {
    let dir = tempfile::tempdir().unwrap();
    let named = dir.path().join("my.so");
    let options = FetchOptions { library: Some(named.clone()), ..options(dir.path()) };
    assert!(matches!(ensure(options.clone()).await, Err(FetchError::Named(path)) if path == named));
    fs::write(&named, "x").unwrap();
    assert_eq!(ensure(options).await.unwrap(), named);
}

#[tokio::test]
async fn a_library_in_the_cache_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join(VERSION).join(LIBRARY);
    fs::create_dir_all(library.parent().unwrap()).unwrap();
    fs::write(&library, "x").unwrap();
    assert_eq!(ensure(options(dir.path())).await.unwrap(), library);
}
