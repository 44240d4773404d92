//! A folder on a server that can little, and on one that lies.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::collect::config::Tls;

/// A server that answers each command with the next lines of its script, the tag put in for `TAG`; gives the commands.
async fn serve(script: &[&str]) -> (SourceConfig, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script: Vec<String> = script.iter().map(|answer| (*answer).to_owned()).collect();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"* OK ready\r\n").await.unwrap();
        let mut commands = Vec::new();
        for answer in script {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                break;
            }
            let (tag, command) = line.trim_end().split_once(' ').unwrap();
            commands.push(command.to_owned());
            // A client that has heard enough is gone.
            let _ = stream.write_all(answer.replace("TAG", tag).as_bytes()).await;
        }
        commands
    });
    let source = format!(
        "name = \"r\"\ndone = \"move\"\ndone_folder = \"Done\"\n[imap]\nhost = \"127.0.0.1\"\nport = {port}\n\
         tls = \"none\"\nuser = \"u\"\npassword_file = \"p\"\n"
    );
    let source: SourceConfig = toml::from_str(&source).unwrap();
    assert_eq!(source.imap.as_ref().unwrap().tls, Tls::None);
    (source, server)
}

#[tokio::test]
async fn a_server_without_move_gets_copies_and_only_our_messages_are_expunged() {
    let (source, server) = serve(&[
        "TAG OK in\r\n",
        "* CAPABILITY IMAP4rev1 UIDPLUS\r\nTAG OK\r\n",
        "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] UIDs\r\nTAG OK [READ-WRITE] selected\r\n",
        "* SEARCH 9 4\r\nTAG OK\r\n",
        "* 1 FETCH (UID 4 RFC822.SIZE 12 INTERNALDATE \"24-Nov-2026 12:00:00 +0000\")\r\nTAG OK\r\n",
        "* 1 FETCH (UID 4 BODY[] {13}\r\nSubject: a)\r\n)\r\nTAG OK\r\n",
        "TAG NO [TRYCREATE] no such folder\r\n",
        "TAG OK created\r\n",
        "TAG OK copied\r\n",
        "TAG OK stored\r\n",
        "TAG OK expunged\r\n",
        "* BYE\r\nTAG OK\r\n",
    ])
    .await;
    let imap = source.imap.clone().unwrap();
    let mut folder = Folder::open(&source, &imap, "pass\"word").await.unwrap();
    let items = folder.list().await.unwrap();
    assert_eq!(items.iter().map(|item| item.at.clone()).collect::<Vec<_>>(), [At::Uid(4), At::Uid(9)]);
    let message = folder.fetch(4).await.unwrap().unwrap();
    assert_eq!(
        (message.octets.as_slice(), message.received.to_string(), message.name),
        (
            &b"Subject: a)\r\n"[..],
            "2026-11-24T12:00:00.000000Z".to_owned(),
            "u on 127.0.0.1, INBOX, UID 4 of 7".to_owned()
        )
    );
    folder.done(&items).await.unwrap();
    folder.close().await;
    assert_eq!(
        server.await.unwrap(),
        [
            "LOGIN \"u\" \"pass\\\"word\"",
            "CAPABILITY",
            "SELECT \"INBOX\"",
            "UID SEARCH UNDELETED",
            "UID FETCH 4 (RFC822.SIZE INTERNALDATE)",
            "UID FETCH 4 BODY.PEEK[]",
            "UID COPY 4,9 \"Done\"",
            "CREATE \"Done\"",
            "UID COPY 4,9 \"Done\"",
            "UID STORE 4,9 +FLAGS.SILENT (\\Deleted)",
            "UID EXPUNGE 4,9",
            "LOGOUT",
        ]
    );
}

#[tokio::test]
async fn a_server_that_refuses_lies_or_goes_away_is_named_with_what_it_said() {
    let open = async |script: &[&str]| {
        let (source, _server) = serve(script).await;
        let imap = source.imap.clone().unwrap();
        let port = imap.port.to_string();
        let fault = match Folder::open(&source, &imap, "secret").await {
            Ok(mut folder) => folder.fetch(1).await.map(|_| ()).unwrap_err(),
            Err(fault) => fault,
        };
        fault.to_string().replace(&port, "PORT")
    };
    assert_eq!(
        open(&["TAG NO [AUTHENTICATIONFAILED] wrong\r\n"]).await,
        "127.0.0.1:PORT: LOGIN was answered \"NO [AUTHENTICATIONFAILED] wrong\"; look at user, password_file and folder"
    );
    let gone = open(&["* OK but"]).await;
    assert!(gone.contains("it closed the connection"), "{gone}");
    let huge = ["TAG OK\r\n", "TAG OK\r\n", "TAG OK\r\n", "* 1 FETCH (BODY[] {4000000000}\r\n"];
    assert_eq!(
        open(&huge).await,
        "127.0.0.1:PORT: this is no IMAP: \"* 1 FETCH (BODY[] {4000000000}\"; is the port right?"
    );
}

#[test]
fn what_servers_say_of_a_folder_and_of_a_message_is_understood() {
    assert_eq!(code("* OK [UIDVALIDITY 1795342608] UIDs valid", "UIDVALIDITY"), Some(1_795_342_608));
    let text = "* 1 FETCH (UID 9 RFC822.SIZE 4711 INTERNALDATE \"24-Nov-2026 12:00:00 +0100\")";
    assert_eq!(after(text, "RFC822.SIZE "), Some("4711"));
    let date = internal_date(text.split_once("INTERNALDATE \"").unwrap().1).unwrap();
    assert_eq!(date.to_string(), "2026-11-24T11:00:00.000000Z");
    assert!(internal_date(" 4-Nov-2026 12:00:00 +0100\"").is_some());
}
