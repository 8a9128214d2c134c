//! What a process writes: read as it comes, and to the last byte once it is dead.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// What one read may bring of lines and small outputs.
pub(super) const SMALL: usize = 8 * 1024;
/// What one read may bring of frames: as much as a pipe holds.
pub(super) const LARGE: usize = 64 * 1024;

/// Our end of one of a process's outputs.
#[derive(Debug)]
pub struct Stream {
    pipe: pipe::Receiver,
    open: bool,
    room: usize,
}

impl Stream {
    pub(super) fn new(end: OwnedFd, room: usize) -> io::Result<Self> {
        Ok(Stream { pipe: pipe::Receiver::from_owned_fd(end)?, open: true, room })
    }

    /// Appends what comes next to `into`; returns once more when the stream is closed, then never again. Cancel-safe.
    pub async fn read(&mut self, into: &mut Vec<u8>) {
        if !self.open {
            std::future::pending::<()>().await;
        }
        into.reserve(self.room);
        self.open = !matches!(self.pipe.read_buf(into).await, Ok(0) | Err(_));
    }

    /// Whether the process, or whoever else holds the other end, can still write.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Appends what lies in the pipe, without waiting and at most `limit` bytes. For a process that is dead: its last words
    /// are there, whether or not somebody else holds the other end open.
    pub fn drain(&mut self, into: &mut Vec<u8>, limit: usize) {
        // the kernel is asked directly: Tokio may not have been told yet that there is something to read
        let mut piece = [0; SMALL];
        let end = into.len().saturating_add(limit);
        while self.open && into.len() < end {
            match rustix::io::read(&self.pipe, &mut piece[..]) {
                Ok(0) => self.open = false,
                Ok(count) => into.extend_from_slice(&piece[..count]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
