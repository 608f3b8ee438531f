//! A client of HTTP/1.1 that waits for nothing for ever.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::host::Host;

/// The longest that a test waits for an answer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer that must be a success.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The error of a refusal with a status.
    pub fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.json();
        let error = body["error"].clone();
        let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["message", "type", "param", "code"]);
        assert!(!error["message"].as_str().unwrap().is_empty());
        error
    }

    /// The events of a stream, which must end as it should; comments are left out.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(
            self.header("content-type"),
            Some("text/event-stream"),
            "{self:?}"
        );
        let mut data = self.data();
        assert_eq!(data.pop().as_deref(), Some("[DONE]"), "{self:?}");
        data.iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    /// What events hold.
    pub fn data(&self) -> Vec<String> {
        let blocks = self
            .body
            .split("\n\n")
            .filter_map(|block| block.strip_prefix("data: "));
        blocks.map(str::to_string).collect()
    }
}

pub fn connect(host: &Host) -> TcpStream {
    connect_to(host.address)
}

fn connect_to(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// The bytes of a request whose connection closes after it.
pub fn request_bytes(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let has = |name: &str| {
        headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    for (name, value) in [("Host", "localhost"), ("Connection", "close")] {
        if !has(name) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if !has("Content-Length") && !has("Transfer-Encoding") && !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend(body);
    bytes
}

/// Sends a request and reads its answer to the end.
pub fn send(host: &Host, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = connect(host);
    // A server that refuses may close before all is written.
    let _ = stream.write_all(&request_bytes(method, path, headers, body));
    read(stream).expect("an answer")
}

pub fn get_from(address: SocketAddr, path: &str) -> Reply {
    let mut stream = connect_to(address);
    stream
        .write_all(&request_bytes("GET", path, &[], b""))
        .unwrap();
    read(stream).expect("an answer")
}

pub fn post_to(address: SocketAddr, path: &str, body: &Value) -> Reply {
    let mut stream = connect_to(address);
    let headers = [("Content-Type", "application/json")];
    let bytes = request_bytes("POST", path, &headers, body.to_string().as_bytes());
    stream.write_all(&bytes).unwrap();
    read(stream).expect("an answer")
}

pub fn get(host: &Host, path: &str) -> Reply {
    send(host, "GET", path, &[], b"")
}

pub fn post(host: &Host, path: &str, body: &Value) -> Reply {
    post_bytes(host, path, body.to_string().as_bytes())
}

pub fn post_bytes(host: &Host, path: &str, body: &[u8]) -> Reply {
    send(
        host,
        "POST",
        path,
        &[("Content-Type", "application/json")],
        body,
    )
}

/// Begins a request whose answer is read later, or never.
pub fn begin(host: &Host, path: &str, body: &Value) -> TcpStream {
    let mut stream = connect(host);
    let headers = [("Content-Type", "application/json")];
    let bytes = request_bytes("POST", path, &headers, body.to_string().as_bytes());
    stream.write_all(&bytes).unwrap();
    stream
}

/// The answer on a connection; `None` if there is none.
pub fn read(stream: TcpStream) -> Option<Reply> {
    let mut reader = BufReader::new(stream);
    let (mut status, mut headers) = read_head(&mut reader)?;
    // The leave to send the body, which was sent without.
    if status == 100 {
        (status, headers) = read_head(&mut reader)?;
    }
    let is_chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let mut body = Vec::new();
    match is_chunked {
        true => read_chunks(&mut reader, &mut body),
        false => {
            // What came is looked at, also if the connection broke off; what follows is of another request.
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.map_or(u64::MAX, |(_, length)| length.parse().unwrap());
            let _ = reader.take(length).read_to_end(&mut body);
        }
    }
    let body = String::from_utf8(body).unwrap();
    Some(Reply {
        status,
        headers,
        body,
    })
}

fn read_head(reader: &mut impl BufRead) -> Option<(u16, Vec<(String, String)>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_string())),
            None => return Some((status, headers)),
        }
    }
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        if reader.read_exact(&mut chunk).is_err() || length == 0 {
            return;
        }
        body.extend(&chunk[..length]);
    }
}
