//! Messages with descriptors over a Unix stream: four bytes of length (little endian), then JSON.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::message::Message;

/// Descriptors that go with one message, at most. The kernel takes 253 (SCM_MAX_FD).
pub(super) const BATCH: usize = 64;
/// Bytes of a message, at most.
const MAX_MESSAGE: usize = 1 << 20;
/// How long a message may take to be written: the other side reads at once, or is gone.
const WRITE: Duration = Duration::from_secs(10);

/// One side of the conversation.
#[derive(Debug)]
pub(super) struct Wire(UnixStream);

impl Wire {
    /// Over a connection to a process of the same user, or of root.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        let (other, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid());
        if other != own.as_raw() && other != 0 {
            let said = format!(
                "the other process runs as user {other}, this one as {own}; sockets are handed over to the same user only"
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, said));
        }
        Ok(Self(stream))
    }

    /// Sends a message; with its first byte go the descriptors, at most [`BATCH`].
    pub(super) async fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(&body);
        let write = async {
            let mut written = 0;
            while let Some(rest) = frame.get(written..).filter(|rest| !rest.is_empty()) {
                let fds = if written == 0 { fds } else { &[] };
                written += self
                    .0
                    .async_io(Interest::WRITABLE, || {
                        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
                        let mut ancillary = SendAncillaryBuffer::new(&mut space);
                        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds))
                        {
                            return Err(io::Error::other("too many descriptors for one message"));
                        }
                        Ok(sendmsg(
                            self.0.as_fd(),
                            &[IoSlice::new(rest)],
                            &mut ancillary,
                            SendFlags::NOSIGNAL,
                        )?)
                    })
                    .await?;
            }
            Ok(())
        };
        timeout(WRITE, write).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it does not listen",
            ))
        })
    }

    /// The next message, with its descriptors.
    pub(super) async fn receive(&self, patience: Duration) -> io::Result<(Message, Vec<OwnedFd>)> {
        let mut fds = Vec::new();
        let read = async {
            let mut length = [0; 4];
            self.fill(&mut length, &mut fds).await?;
            let length = u32::from_le_bytes(length) as usize;
            if length > MAX_MESSAGE {
                return Err(io::Error::other(format!("a message of {length} bytes")));
            }
            let mut body = vec![0; length];
            self.fill(&mut body, &mut fds).await?;
            Ok(serde_json::from_slice(&body)?)
        };
        let message = timeout(patience, read).await.unwrap_or_else(|_| {
            let said = format!("it said nothing for {patience:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, said))
        })?;
        Ok((message, fds))
    }

    async fn fill(&self, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let read = self
                .0
                .async_io(Interest::READABLE, || {
                    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
                    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                    let received = recvmsg(
                        self.0.as_fd(),
                        &mut [IoSliceMut::new(rest)],
                        &mut ancillary,
                        RecvFlags::CMSG_CLOEXEC,
                    )?;
                    for message in ancillary.drain() {
                        if let RecvAncillaryMessage::ScmRights(more) = message {
                            fds.extend(more);
                        }
                    }
                    Ok(received.bytes)
                })
                .await?;
            if read == 0 {
                let said = "it ended, or hung up";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, said));
            }
            filled += read;
        }
        Ok(())
    }
}
