//! A server whose health is the test's to say: it answers, fails, hangs, or is not there.

use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::read_until;

/// What is asked for by a check.
pub const HEALTH: &str = "/healthz";

/// How often somebody who waits for connections looks whether it is over.
const LOOK: Duration = Duration::from_millis(2);

/// Speaks HTTP/1.1. A check is answered with a status of the test's choice, everything else with 200 and its name.
pub struct Patient {
    name: String,
    address: SocketAddr,
    listen: Box<dyn Fn() -> io::Result<TcpListener> + Send>,
    shared: Arc<Shared>,
    accepts: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Shared {
    status: AtomicU16,
    hangs: AtomicBool,
    /// Connections that wait for an answer in vain.
    held: Mutex<Vec<TcpStream>>,
}

impl std::fmt::Debug for Patient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

impl Patient {
    /// Healthy, where `listen` says; it is asked again when the server comes back.
    ///
    /// # Errors
    /// Nothing can listen there.
    pub fn start(
        name: &str,
        listen: impl Fn() -> io::Result<TcpListener> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Shared {
            status: AtomicU16::new(200),
            hangs: AtomicBool::new(false),
            held: Mutex::default(),
        };
        let first = listen()?;
        let mut patient = Self {
            name: name.to_owned(),
            address: first.local_addr()?,
            listen: Box::new(listen),
            shared: Arc::new(shared),
            accepts: None,
        };
        patient.accept(first)?;
        Ok(patient)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Checks are answered with this status from now on.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::Relaxed);
    }

    /// Accepts, and answers nothing.
    pub fn hang(&self) {
        self.shared.hangs.store(true, Ordering::Relaxed);
    }

    /// Is not there: connections are refused.
    pub fn leave(&mut self) {
        if let Some((over, thread)) = self.accepts.take() {
            over.store(true, Ordering::Relaxed);
            let _ = thread.join().is_ok();
        }
    }

    /// Is there again, healthy.
    ///
    /// # Errors
    /// Nothing can listen there any more.
    pub fn recover(&mut self) -> io::Result<()> {
        self.answer(200);
        self.shared.hangs.store(false, Ordering::Relaxed);
        let mut held = self
            .shared
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.clear();
        drop(held);
        if self.accepts.is_none() {
            self.accept((self.listen)()?)?;
        }
        Ok(())
    }

    fn accept(&mut self, listener: TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let over = Arc::new(AtomicBool::new(false));
        let (is_over, shared, name) = (
            Arc::clone(&over),
            Arc::clone(&self.shared),
            self.name.clone(),
        );
        let thread = thread::Builder::new().spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(LOOK);
                    continue;
                };
                let (shared, name) = (Arc::clone(&shared), name.clone());
                thread::spawn(move || drop(serve(&stream, &shared, &name)));
            }
        })?;
        self.accepts = Some((over, thread));
        Ok(())
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.leave();
    }
}

fn serve(stream: &TcpStream, shared: &Shared, name: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    loop {
        let head = read_until(&mut reader, b"\r\n\r\n")?;
        if shared.hangs.load(Ordering::Relaxed) {
            let mut held = shared.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.push(stream.try_clone()?);
            return Ok(());
        }
        let is_check = head.starts_with(format!("GET {HEALTH} ").as_bytes());
        let status = if is_check {
            shared.status.load(Ordering::Relaxed)
        } else {
            200
        };
        let length = name.len();
        write!(
            writer,
            "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n\r\n{name}"
        )?;
    }
}
