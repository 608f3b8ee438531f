//! Plain HTTP over a socket, for what the browser does not show: headers, and the driver's own commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// What came back for a request.
pub struct Answer {
    pub status: u16,
    /// The header lines, in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

impl Answer {
    /// A header's value, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.iter();
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let field = fields.find(|(found, _)| *found == name);
        field.map(|(_, value)| value.trim())
    }
}

/// Asks a server on this machine; `headers` are whole lines.
pub fn ask(port: u16, request_line: &str, headers: &[&str], body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = format!(
        "{request_line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes())?;
    read_answer(&mut BufReader::new(stream))
}

/// As long as it says that it is: not every server closes the connection when asked to.
fn read_answer(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let mut status = String::new();
    stream.read_line(&mut status)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        headers.push(line.to_lowercase());
    }
    let status = status.split(' ').nth(1);
    let mut answer = Answer {
        status: status.and_then(|status| status.parse().ok()).unwrap_or(0),
        headers,
        body: String::new(),
    };
    let length = answer.header("content-length");
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    stream.take(length).read_to_string(&mut answer.body)?;
    Ok(answer)
}
