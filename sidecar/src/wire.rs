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
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Descriptors that go with one piece of a message, at most. The kernel takes 253 (SCM_MAX_FD).
const BATCH: usize = 64;

/// One side of the conversation.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    /// Bytes of a message, at most.
    most: usize,
}

impl Wire {
    /// Over a connection; a message of more than `most` bytes is not read.
    #[must_use]
    pub const fn new(stream: UnixStream, most: usize) -> Self {
        Self { stream, most }
    }

    /// Sends a message, and descriptors with it, for as long as that takes. Two at a time would be mixed up; and of one that is
    /// given up half way the other side makes nothing any more.
    ///
    /// # Errors
    ///
    /// The other side is gone. [`io::ErrorKind::InvalidInput`]: it is no message that could be sent, and nothing was.
    pub async fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let refuse = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let body = serde_json::to_vec(message).map_err(|error| refuse(error.to_string()))?;
        let length = u32::try_from(body.len()).map_err(|error| refuse(error.to_string()))?;
        let mut frame = length.to_le_bytes().to_vec();
        frame.extend_from_slice(&body);
        let mut batches: Vec<&[BorrowedFd<'_>]> = fds.chunks(BATCH).collect();
        if batches.len() > frame.len() || body.len() > self.most {
            let (fds, bytes) = (fds.len(), body.len());
            return Err(refuse(format!(
                "{fds} descriptors and {bytes} bytes are too much for one message"
            )));
        }
        let mut written = 0;
        while let Some(rest) = frame.get(written..).filter(|rest| !rest.is_empty()) {
            let fds = batches.first().copied().unwrap_or_default();
            // Each batch goes with a byte of its own, and what is left of the message with the last one.
            let rest = match batches.len() {
                0 | 1 => rest,
                _ => &rest[..1],
            };
            written += self
                .stream
                .async_io(Interest::WRITABLE, || self.write(rest, fds))
                .await?;
            if !batches.is_empty() {
                batches.remove(0);
            }
        }
        Ok(())
    }

    /// As [`send`](Self::send), if it can be done within `patience`; else nothing can be sent any more.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub async fn send_within(
        &self,
        patience: Duration,
        message: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        timeout(patience, self.send(message, fds))
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "it does not listen",
                ))
            })
    }

    /// The next message, with its descriptors, if it comes within `patience`.
    ///
    /// # Errors
    ///
    /// It does not, or what comes is no message.
    pub async fn receive<M: DeserializeOwned>(
        &self,
        patience: Duration,
    ) -> io::Result<(M, Vec<OwnedFd>)> {
        timeout(patience, self.next()).await.unwrap_or_else(|_| {
            let said = format!("it said nothing for {patience:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, said))
        })
    }

    /// The next message, with its descriptors, whenever it comes. Not to be given up half way: the rest would be taken for the
    /// next one.
    ///
    /// # Errors
    ///
    /// The other side is gone, or what comes is no message.
    pub async fn next<M: DeserializeOwned>(&self) -> io::Result<(M, Vec<OwnedFd>)> {
        let mut fds = Vec::new();
        let mut length = [0; 4];
        self.fill(&mut length, &mut fds).await?;
        let length = u32::from_le_bytes(length) as usize;
        if length > self.most {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let mut body = vec![0; length];
        self.fill(&mut body, &mut fds).await?;
        Ok((serde_json::from_slice(&body)?, fds))
    }

    fn write(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let bytes = [IoSlice::new(bytes)];
        let stream = self.stream.as_fd();
        let flags = SendFlags::NOSIGNAL;
        Ok(sendmsg(stream, &bytes, &mut ancillary, flags)?)
    }

    fn read(&self, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [IoSliceMut::new(buffer)];
        let stream = self.stream.as_fd();
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(stream, &mut buffer, &mut ancillary, flags)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        Ok(received.bytes)
    }

    async fn fill(&self, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let read = self
                .stream
                .async_io(Interest::READABLE, || self.read(rest, fds))
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn as_many_descriptors_arrive_as_were_sent() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let (one, other) = UnixStream::pair().unwrap();
            let (one, other) = (Wire::new(one, 1 << 16), Wire::new(other, 1 << 16));
            for count in [0, 1, BATCH, BATCH + 1, 3 * BATCH] {
                let files: Vec<File> = (0..count)
                    .map(|_| File::open("/dev/null").unwrap())
                    .collect();
                let fds: Vec<BorrowedFd<'_>> = files.iter().map(File::as_fd).collect();
                let (sent, next) = (format!("{count} of them"), "the next".to_owned());
                one.send(&sent, &fds).await.unwrap();
                one.send(&next, &[]).await.unwrap();
                let (came, fds) = other.next::<String>().await.unwrap();
                assert_eq!((came, fds.len()), (sent, count));
                let (came, fds) = other.next::<String>().await.unwrap();
                assert_eq!((came, fds.len()), (next, 0));
            }
        });
    }

    #[test]
    fn what_is_too_long_is_not_read() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let (one, other) = UnixStream::pair().unwrap();
            let (one, other) = (Wire::new(one, 64), Wire::new(other, 8));
            one.send(&"much too long", &[]).await.unwrap();
            let error = other.next::<String>().await.unwrap_err();
            assert!(error.to_string().contains("15 bytes"), "{error}");
            // Nor sent, where that is known; and what follows is.
            let small = Wire::new(UnixStream::pair().unwrap().0, 8);
            let error = small.send(&"much too long", &[]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        });
    }
}
