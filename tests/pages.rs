//! The pages in a real browser, at the widths of a desk and of a hand.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Suite, eventually, get};
use thirtyfour::prelude::*;

/// ChromeDriver, ended when dropped.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed by ./test");
        eventually("chromedriver", Duration::from_secs(60), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }

    async fn browser(&self, profile: &tempfile::TempDir, width: u32) -> WebDriver {
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary("/usr/bin/chromium").unwrap();
        for argument in [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &format!("--user-data-dir={}", profile.path().join(width.to_string()).display()),
            &format!("--window-size={width},900"),
        ] {
            wanted.add_arg(argument).unwrap();
        }
        WebDriver::new(format!("http://127.0.0.1:{}", self.port), wanted).await.unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page must not be wider than the window.
async fn fits(browser: &WebDriver, what: &str) {
    let overflow = browser
        .execute("return document.documentElement.scrollWidth - document.documentElement.clientWidth", vec![])
        .await
        .unwrap();
    assert_eq!(overflow.json().as_i64(), Some(0), "{what} scrolls sideways");
}

async fn log_in(browser: &WebDriver, user_field: &str, user: &str, password: &str) -> WebDriverResult<()> {
    browser.find(By::Name(user_field)).await?.send_keys(user).await?;
    browser.find(By::Name("password")).await?.send_keys(password).await?;
    browser.find(By::Css("form [type=submit], form button")).await?.click().await?;
    // The click returns before the answer is there.
    let logged_in = browser.query(By::Css("form[action='/logout']"));
    logged_in.wait(Duration::from_secs(60), Duration::from_millis(100)).first().await.map(drop)
}

async fn look_at_everything(browser: &WebDriver, suite: &Suite) -> WebDriverResult<()> {
    browser.goto(format!("{}/", suite.url("public"))).await?;
    let text = browser.find(By::Tag("main")).await?.text().await?;
    for service in ["IMAP", "POP3", "Submission", "Webmail", "Mail round trip"] {
        assert!(text.contains(service), "the public page should show {service}:\n{text}");
    }
    fits(browser, "the public page").await;

    browser.goto(format!("{}/", suite.url("operator"))).await?;
    let (operator, password) = suite.account("admin");
    log_in(browser, "name", &operator, &password).await?;
    let text = browser.find(By::Tag("main")).await?.text().await?;
    assert!(text.contains("IMAP"), "the dashboard should show services by region:\n{text}");
    fits(browser, "the dashboard").await;

    browser.goto(format!("{}/", suite.url("webmail"))).await?;
    let (user, password) = suite.account("user");
    log_in(browser, "address", &user, &password).await?;
    browser.goto(format!("{}/compose", suite.url("webmail"))).await?;
    browser.find(By::Name("to")).await?.send_keys(&user).await?;
    browser.find(By::Name("subject")).await?.send_keys("from a browser").await?;
    browser.find(By::Name("text")).await?.send_keys("Hello from Chromium.").await?;
    fits(browser, "the compose page").await;
    browser
        .find(By::Css("form[action='/compose'] [type=submit], form[action='/compose'] button"))
        .await?
        .click()
        .await?;
    let mut there = false;
    for _ in 0..100 {
        browser.goto(format!("{}/folders/INBOX", suite.url("webmail"))).await?;
        there = browser.find(By::Tag("main")).await?.text().await?.contains("from a browser");
        if there {
            break;
        }
    }
    assert!(there, "the message sent by webmail should come to the inbox");
    fits(browser, "the inbox").await;
    Ok(())
}

#[tokio::test]
async fn pages_show_the_suite_in_chromium_at_1280_and_390_pixels() {
    let suite = Suite::start(20_000);
    eventually("the first verdicts", Duration::from_secs(120), || {
        get(&format!("{}/api/v1/status", suite.url("public"))).filter(|status| status.contains("\"state\":\"up\""))
    });
    let driver = Driver::start();
    let profile = tempfile::tempdir().unwrap();
    for width in [1280, 390] {
        let browser = driver.browser(&profile, width).await;
        let looked = look_at_everything(&browser, &suite).await;
        browser.quit().await.unwrap();
        looked.unwrap();
    }
}
