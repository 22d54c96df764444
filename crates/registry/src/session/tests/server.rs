//! A registry that says what a test tells it to say.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request: its first line and headers in lower case, and what it sends.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: String,
    pub content: String,
}

impl Asked {
    /// Method and path begin like this.
    pub fn is(&self, start: &str) -> bool {
        self.line.starts_with(start)
    }

    pub fn has(&self, header: &str) -> bool {
        self.headers.contains(header)
    }
}

pub struct Server {
    /// Host and port.
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Answer = dyn Fn(&Asked, &str) -> String + Send + Sync;

impl Server {
    /// Serves until the process ends. `answer` gets each request and the server's host.
    pub fn new(answer: impl Fn(&Asked, &str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = Self {
            host: host.clone(),
            asked: asked.clone(),
        };
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, answer, host) = (asked.clone(), answer.clone(), host.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &asked, &*answer, &host));
            }
        });
        server
    }

    /// All requests so far whose first line begins with `start`.
    pub fn asked(&self, start: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| asked.is(start))
            .cloned()
            .collect()
    }
}

fn serve(mut stream: TcpStream, all: &Mutex<Vec<Asked>>, answer: &Answer, host: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        // A handshake of TLS begins with 22: this server speaks none.
        match stream.read(&mut byte) {
            Ok(1) if !(head.is_empty() && byte[0] == 22) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let headers = headers.to_lowercase();
    let length = headers
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
    let mut content = vec![0; length];
    stream.read_exact(&mut content).unwrap();
    let asked = Asked {
        line: line.to_owned(),
        // Values of Authorization are told apart by their case.
        headers: format!("{headers}{}", head.split_once("\r\n").unwrap().1),
        content: String::from_utf8(content).unwrap(),
    };
    all.lock().unwrap().push(asked.clone());
    let answer = answer(&asked, host);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = match head.to_lowercase().contains("content-length") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let body = if asked.is("HEAD") { "" } else { body };
    let whole = format!("HTTP/1.1 {head}\r\n{length}Connection: close\r\n\r\n{body}");
    // The client may have seen enough.
    drop(stream.write_all(whole.as_bytes()));
}

/// An answer with headers, each with its line break.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("{status}\r\n{headers}\r\n{body}")
}
