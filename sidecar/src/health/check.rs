//! One check of one member, from the first packet to the result.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use super::group::{Group, Target, Way};
use super::settings::{Probe, Settings, Tls, Trust, Via};
use super::{grpc, http};
use crate::client::secure::Secure;

/// What a check needs beside its time; made once for a member.
#[derive(Debug)]
pub(super) struct Check {
    settings: Settings,
    /// Where it connects to.
    address: SocketAddr,
    way: Option<Way>,
    secure: Option<(Secure, String)>,
}

impl Check {
    /// Of a member whose checks go to `target`.
    ///
    /// # Errors
    ///
    /// What it is to trust cannot be used.
    pub(super) fn new(
        settings: &Settings,
        target: &Target,
        secured: &Secured,
    ) -> Result<Self, String> {
        let ip = target.ip;
        let port = settings.probe.port().unwrap_or(target.port);
        let secure = match &settings.probe {
            Probe::Tcp { .. } => None,
            Probe::Http(http) => secured.with(http.tls.as_ref(), http.host.as_deref(), ip, HTTP)?,
            Probe::Grpc(grpc) => secured.with(grpc.tls.as_ref(), grpc.host.as_deref(), ip, H2)?,
        };
        Ok(Self {
            settings: settings.clone(),
            address: SocketAddr::new(ip, port),
            way: target.way.clone(),
            secure,
        })
    }

    /// What it was made from.
    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks once; takes no longer than the settings' timeout, once there is a socket to ask by.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let way = match (self.settings.via, &self.way) {
            (Via::Direct, _) => None,
            (Via::Vip, Some(way)) => Some(way),
            (Via::Vip, None) => {
                let why = "there is no way by the VIP; the log says why";
                return Err(Failure::Own(io::Error::other(why)));
            }
        };
        let before = count(way).await;
        let socket = self.socket(way).await.map_err(Failure::Own)?;
        let result = self.run_once(socket).await;
        let is_answer = result.as_ref().err().is_none_or(Failure::is_answer);
        // Who answered may have been asked at its own address: the mark was taken off, or the programs are not there.
        if way.is_some() && is_answer && count(way).await <= before {
            let why =
                "the check did not go by the VIP; is its mark changed by other rules of this host?";
            return Err(Failure::Own(io::Error::other(why)));
        }
        result
    }

    /// A socket to ask by; whoever makes those that are marked may be at other work.
    async fn socket(&self, way: Option<&Way>) -> io::Result<TcpSocket> {
        let ipv6 = self.address.is_ipv6();
        match way {
            Some(way) => Ok(TcpSocket::from_std_stream(
                way.by.socket(ipv6, way.mark).await?,
            )),
            None if ipv6 => TcpSocket::new_v6(),
            None => TcpSocket::new_v4(),
        }
    }

    async fn run_once(&self, socket: TcpSocket) -> Result<(), Failure> {
        let limit = self.settings.timeout;
        let deadline = Instant::now() + limit;
        let stream = match timeout_at(deadline, socket.connect(self.address)).await {
            Ok(connected) => connected.map_err(Failure::of_connecting)?,
            Err(_) => return Err(Failure::ConnectTimeout(limit)),
        };
        match timeout_at(deadline, self.converse(stream)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::AnswerTimeout(limit)),
        }
    }

    async fn converse(&self, stream: TcpStream) -> Result<(), Failure> {
        match &self.secure {
            None => self.ask(stream).await,
            Some((secure, name)) => {
                let stream = secure.connect(name, stream).await.map_err(Failure::Tls)?;
                self.ask(stream).await
            }
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), Failure> {
        match &self.settings.probe {
            Probe::Tcp { .. } => Ok(()),
            Probe::Http(question) => http::ask(question, self.address, stream).await,
            Probe::Grpc(question) => grpc::ask(question, self.address, stream).await,
        }
    }
}

async fn count(way: Option<&Way>) -> Option<u64> {
    let way = way?;
    way.by.count(way.mark).await
}

const HTTP: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// How TLS is spoken: made once for all who trust the same, since it reads files.
#[derive(Debug, Default)]
pub(super) struct Secured(Vec<(Trust, &'static [u8], Result<Secure, String>)>);

impl Secured {
    /// For all checks of these groups.
    pub(super) fn of(groups: &[Group]) -> Self {
        let mut all = Self::default();
        for group in groups {
            let (tls, protocol) = match &group.settings.probe {
                Probe::Tcp { .. } => continue,
                Probe::Http(http) => (&http.tls, HTTP),
                Probe::Grpc(grpc) => (&grpc.tls, H2),
            };
            let Some(tls) = tls else { continue };
            if all.get(&tls.trust, protocol).is_none() {
                let secure = match &tls.trust {
                    Trust::System => Secure::by_system(protocol),
                    Trust::Authorities(pem) => Secure::by_authorities(pem, protocol),
                    Trust::Nobody => Secure::by_nobody(protocol),
                };
                let secure = secure.map_err(|error| error.to_string());
                all.0.push((tls.trust.clone(), protocol, secure));
            }
        }
        all
    }

    fn get(&self, trust: &Trust, protocol: &[u8]) -> Option<&Result<Secure, String>> {
        let mut all = self.0.iter();
        let found = all.find(|(one, speaks, _)| one == trust && *speaks == protocol)?;
        Some(&found.2)
    }

    /// How TLS is spoken, and with whom.
    fn with(
        &self,
        tls: Option<&Tls>,
        host: Option<&str>,
        ip: IpAddr,
        protocol: &[u8],
    ) -> Result<Option<(Secure, String)>, String> {
        let Some(tls) = tls else {
            return Ok(None);
        };
        let secure = self.get(&tls.trust, protocol);
        let secure = secure.ok_or("nobody is known to trust")?.clone()?;
        let of_host = || host.map(|host| without_port(host).to_owned());
        let name = tls.name.clone().or_else(of_host);
        Ok(Some((secure, name.unwrap_or_else(|| ip.to_string()))))
    }
}

/// A host as certificates name it.
fn without_port(host: &str) -> &str {
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

#[cfg(test)]
mod tests;
