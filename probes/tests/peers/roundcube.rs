//! The recipe of Roundcube against a real one: PHP's own web server in front of the tests' Postfix and Dovecot.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::real::Peers;

/// Where Debian's package has it, and its tables.
const ROOT: &str = "/var/lib/roundcube";
const TABLES: &str = "/usr/share/roundcube/SQL/sqlite.initial.sql";

struct Roundcube {
    server: Child,
    port: u16,
}

impl Drop for Roundcube {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Roundcube {
    fn start(peers: &Peers) -> Self {
        assert!(
            Path::new(TABLES).exists(),
            "Roundcube is not installed; run ./test, which installs what the tests need"
        );
        let home = peers.bench.path().join("roundcube");
        for folder in ["config", "temp", "logs"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        for file in ["defaults.inc.php", "mimetypes.php"] {
            std::os::unix::fs::symlink(Path::new("/etc/roundcube").join(file), home.join("config").join(file)).unwrap();
        }
        let (at, imap, smtp) = (home.display(), peers.port("IMAP"), peers.port("SUBMISSION"));
        let config = format!(
            "<?php $config = ['db_dsnw' => 'sqlite:///{at}/mail.db?mode=0640', 'imap_host' => '127.0.0.1:{imap}', \
             'smtp_host' => '127.0.0.1:{smtp}', 'smtp_user' => '%u', 'smtp_pass' => '%p', 'plugins' => [], \
             'des_key' => 'abcdefghijklmnopqrstuvwx', 'temp_dir' => '{at}/temp', 'log_dir' => '{at}/logs'];"
        );
        std::fs::write(home.join("config/config.inc.php"), config).unwrap();
        let tables = format!("(new PDO('sqlite:{at}/mail.db'))->exec(file_get_contents('{TABLES}'));");
        assert!(Command::new("php").arg("-r").arg(tables).status().unwrap().success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("php")
            .args(["-S", &format!("127.0.0.1:{port}"), "-t", ROOT])
            .env("ROUNDCUBE_CONFIG_DIR", home.join("config"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let roundcube = Self { server, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "PHP's web server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        roundcube
    }

    fn check(&self) -> String {
        format!(
            "[[check]]\nname = \"webmail\"\nkind = \"webmail\"\nservice = \"webmail\"\ncadence = \"light\"\n\
             url = \"http://127.0.0.1:{}/\"\naccount = \"audit@example.test\"\nrecipe = \"roundcube\"\n\
             timeout_ms = 30000\n",
            self.port
        )
    }
}

#[tokio::test]
async fn a_real_roundcube_is_walked_through_and_sends() {
    let mut peers = Peers::start();
    let roundcube = Roundcube::start(&peers);
    peers.bench.run(&roundcube.check()).await.is_ok("tcp load login list logout");

    peers.bench.receive_objective = Duration::from_secs(60);
    let checks = peers.checks("audit@example.test");
    let (others, trip) = checks.split_at(checks.rfind("[[check]]").unwrap());
    let trip = trip.replace("submission = \"submission\"", "webmail = \"webmail\"\ntimeout_ms = 20000");
    let seen = peers.bench.run(&format!("{others}{}{trip}", roundcube.check())).await;
    seen.is_ok("login imap send receive search folder fetch pop3 cleanup");
    assert_eq!(peers.messages("audit"), 0, "what Roundcube keeps of what it sent is removed as well");

    std::fs::write(peers.bench.path().join("password"), "wrong\n").unwrap();
    peers.bench.run(&roundcube.check()).await.failed("login auth_failed");
}
