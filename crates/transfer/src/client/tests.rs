#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

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
