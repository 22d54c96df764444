#![allow(clippy::unwrap_used)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;

/// Answers one request, and returns it.
fn serve(answer: String) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let lines = lines.map(Result::unwrap);
        let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        stream.write_all(answer.as_bytes()).unwrap();
        request.join("\n").to_lowercase()
    });
    (url.parse().unwrap(), thread)
}

fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n")
}

fn with_token(url: &Url) -> Request<'_> {
    let mut request = Request::new(url);
    let token = HeaderValue::from_static("Bearer abc");
    request.headers.insert(header::AUTHORIZATION, token);
    request
}

#[test]
fn a_refusal_can_be_read() {
    let options = ClientOptions::default();
    let client = Client::new(&options);
    let challenge = "WWW-Authenticate: Bearer realm=\"r\"\r\n";
    let (url, server) = serve(answer("401 Unauthorized", challenge));
    let response = client.send(&with_token(&url)).unwrap().unwrap();
    assert_eq!(response.status(), 401);
    let challenge = response.header(header::WWW_AUTHENTICATE);
    assert_eq!(challenge, Some("Bearer realm=\"r\""));
    assert!(server.join().unwrap().contains("authorization: bearer abc"));
}

#[test]
fn headers_stay_within_their_origin() {
    let options = ClientOptions::default();
    let client = Client::new(&options);
    let (elsewhere, there) = serve(answer("200 OK", ""));
    let (url, here) = serve(answer("307 Moved", &format!("Location: {elsewhere}\r\n")));
    let response = client.send(&with_token(&url)).unwrap().unwrap();
    assert_eq!(response.url(), elsewhere.as_str());
    assert!(here.join().unwrap().contains("authorization"));
    let second = there.join().unwrap();
    assert!(second.contains("accept-encoding") && !second.contains("authorization"));
}

#[test]
fn an_explicit_authorization_precedes_netrc() {
    let options = ClientOptions {
        netrc: Netrc::parse("default login me password secret"),
        ..ClientOptions::default()
    };
    let client = Client::new(&options);
    let (url, server) = serve(answer("200 OK", ""));
    client.send(&with_token(&url)).unwrap().unwrap();
    let request = server.join().unwrap();
    assert_eq!(request.matches("authorization").count(), 1, "{request}");
    assert!(request.contains("bearer abc"), "{request}");
}

/// A file of zeros that takes no room on the disk.
fn zeros(length: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(length).unwrap();
    file
}

fn impatient() -> Client {
    Client::new(&ClientOptions {
        stall_timeout: Duration::from_secs(1),
        ..ClientOptions::default()
    })
}

/// Reads the head of a request, and hands over the connection.
fn accept(listener: &TcpListener) -> BufReader<std::net::TcpStream> {
    let mut reader = BufReader::new(listener.accept().unwrap().0);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    reader
}

/// The limit is for a single wait: a server that takes its time over a large file, and longer than the limit in all, gets it all.
#[test]
fn a_slow_server_gets_a_large_file() {
    const LENGTH: u64 = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("http://{}/x", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let server = std::thread::spawn(move || {
        let mut reader = accept(&listener);
        let mut got = 0;
        for part in 0..4 {
            std::thread::sleep(Duration::from_millis(700));
            let upto = LENGTH / 4 * (part + 1);
            got += io::copy(&mut (&mut reader).take(upto - got), &mut io::sink()).unwrap();
        }
        let created = answer("201 Created", "");
        reader.get_mut().write_all(created.as_bytes()).unwrap();
        got
    });
    let file = zeros(LENGTH);
    let sent = Arc::new(AtomicU64::new(0));
    let request = Request {
        method: Method::PUT,
        content: Some(Content::File {
            file: &file,
            offset: 0,
            length: LENGTH,
            sent: Some(sent.clone()),
        }),
        ..Request::new(&url)
    };
    let response = impatient().send(&request).unwrap().unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(server.join().unwrap(), LENGTH);
    assert_eq!(sent.load(Ordering::Relaxed), LENGTH);
}

/// The file would take its time at the slowest speed that is accepted; a server that accepts nothing does not get that time.
#[test]
fn a_server_that_accepts_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("http://{}/x", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let file = zeros(64 << 20);
    let request = Request {
        method: Method::PUT,
        content: Some(Content::File {
            file: &file,
            offset: 0,
            length: 64 << 20,
            sent: None,
        }),
        ..Request::new(&url)
    };
    let sent = impatient().send(&request).unwrap();
    let cause = sent.map(|response| response.status()).unwrap_err();
    assert!(matches!(cause, Cause::Unaccepted(_)), "{cause}");
}

/// A refusal may come before everything was sent; it is the answer, not a broken connection.
#[test]
fn an_early_refusal_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("http://{}/x", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let server = std::thread::spawn(move || {
        let mut reader = accept(&listener);
        let refused = answer("413 Content Too Large", "");
        reader.get_mut().write_all(refused.as_bytes()).unwrap();
        // As Go's server does, which takes nothing more and gives its answer time to arrive.
        reader.get_mut().shutdown(Shutdown::Write).unwrap();
        std::thread::sleep(Duration::from_millis(500));
    });
    let file = zeros(64 << 20);
    let request = Request {
        method: Method::PUT,
        content: Some(Content::File {
            file: &file,
            offset: 0,
            length: 64 << 20,
            sent: None,
        }),
        ..Request::new(&url)
    };
    assert_eq!(impatient().send(&request).unwrap().unwrap().status(), 413);
    server.join().unwrap();
}

/// Bytes that are sent are sent again where the same server wants them elsewhere, and nowhere else.
#[test]
fn content_follows_a_redirection_within_its_origin_only() {
    let content = || Some(Content::Bytes(b"content"));
    let client = impatient();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("http://{}/x", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let server = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        for (status, location) in [
            ("307 Moved", "Location: /y\r\n"),
            ("201 Created", ""),
            ("307 Moved", "Location: http://127.0.0.1:9/\r\n"),
        ] {
            let mut reader = accept(&listener);
            let mut body = [0; 7];
            reader.read_exact(&mut body).unwrap();
            bodies.push(body);
            let answer = answer(status, location);
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
        bodies
    });
    let request = Request {
        method: Method::PUT,
        content: content(),
        ..Request::new(&url)
    };
    assert_eq!(client.send(&request).unwrap().unwrap().status(), 201);
    assert_eq!(client.send(&request).unwrap().unwrap().status(), 307);
    assert_eq!(server.join().unwrap(), [*b"content"; 3]);
}
