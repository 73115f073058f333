//! An API that answers each request with the bytes that reached it, as they stood on the wire.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::client::read_until;

/// Speaks HTTP/1.1, as Tollgate does to upstreams. Its threads end with the process.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Arrived>>>,
}

/// A request as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived(pub Vec<u8>);

impl Origin {
    /// Listens on loopback.
    ///
    /// # Errors
    /// When there is no port or no thread to be had.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Vec<Arrived>>>::default();
        let shared = Arc::clone(&seen);
        thread::Builder::new()
            .name("origin".to_owned())
            .spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let seen = Arc::clone(&shared);
                    thread::spawn(move || drop(serve(stream, &seen)));
                }
            })?;
        Ok(Self { address, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come since this was last asked, in the order of arrival.
    #[must_use]
    pub fn take(&self) -> Vec<Arrived> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Arrived {
    /// The method, target and version.
    #[must_use]
    pub fn line(&self) -> String {
        self.text()
            .split("\r\n")
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// All fields of head and trailers with their names as spelt, in order.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let text = self.text();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let trailers = body.rsplit_once("\r\n0\r\n").map_or("", |(_, rest)| rest);
        head.split("\r\n")
            .skip(1)
            .chain(trailers.split("\r\n"))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// The values of the fields whose names are this one, in order.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        let all = self.fields().into_iter();
        all.filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The bytes; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Arrived>>) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut bytes = read_until(&mut reader, b"\r\n\r\n")?;
        let arrived = Arrived(bytes.clone());
        let first = |name| arrived.values(name).into_iter().next();
        if let Some(length) = first("content-length") {
            let mut body = vec![0; length.parse().map_err(io::Error::other)?];
            reader.read_exact(&mut body)?;
            bytes.append(&mut body);
        } else if first("transfer-encoding").is_some() {
            while !chunk(&mut reader, &mut bytes)? {}
        }
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arrived(bytes.clone()));
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len()).into_bytes();
        // To HEAD there is no body.
        if !bytes.starts_with(b"HEAD ") {
            answer.append(&mut bytes);
        }
        writer.write_all(&answer)?;
    }
}

/// One chunk, or the last one with its trailers (RFC 9112, section 7.1): whether it was that.
fn chunk(reader: &mut impl io::Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let line = read_until(reader, b"\r\n")?;
    let size = String::from_utf8_lossy(&line);
    let size = usize::from_str_radix(size.trim_end(), 16).map_err(io::Error::other)?;
    bytes.extend_from_slice(&line);
    if size > 0 {
        let mut data = vec![0; size + 2];
        reader.read_exact(&mut data)?;
        bytes.append(&mut data);
        return Ok(false);
    }
    loop {
        let line = read_until(reader, b"\r\n")?;
        bytes.extend_from_slice(&line);
        if line == b"\r\n" {
            return Ok(true);
        }
    }
}
