//! Frames on a connection, and the messages that they form.
//!
//! A message is
//!
//! ```text
//! u64  number of bytes that follow in one piece
//! u64  number of frames, n
//! u64  n lengths of frames
//!      the frames
//! ```
//!
//! with all numbers in little-endian order. The first number is only a hint for
//! the reader's buffers: newer releases exclude frames from it that are to be
//! read separately. The lengths of the frames are authoritative.
//!
//! The first frame is the message, as MessagePack. Later frames contain data that
//! MessagePack can't represent (pickled Python objects). Only these frames can be
//! compressed. No call of this crate needs them, so they are read and discarded,
//! never decoded.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::budget::{BudgetExhausted, CHUNK, Share};

/// A failure to read a message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed the connection between two messages.
    #[error("the connection was closed")]
    Closed,
    /// The peer closed the connection in the middle of a message.
    #[error("the connection was closed in the middle of a message, after {} bytes of its head", head.len())]
    Truncated {
        /// The beginning of the message: at most its first number.
        head: Vec<u8>,
    },
    /// Reading from or writing to the connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The message is larger than allowed.
    #[error("a message of {size} bytes; the limit is {limit}")]
    TooLarge {
        /// The size that the head announces, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Other messages use the available memory.
    #[error("no memory is left for the message")]
    NoneLeft,
    /// The numbers in the head of the message contradict each other.
    #[error("{what}; its first bytes are {head:02x?}")]
    Garbage {
        /// A description of the contradiction.
        what: &'static str,
        /// The first number of the message, as it was sent.
        head: [u8; 8],
    },
}

/// Encodes a message with one frame.
pub fn encode(frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u64;
    let mut bytes = Vec::with_capacity(24 + frame.len());
    for number in [length + 16, 1, length] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(frame);
    bytes
}

/// Writes a message with one frame.
///
/// # Errors
///
/// Returns an error if writing to the connection fails.
pub async fn write_message(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    writer.write_all(&encode(frame)).await?;
    writer.flush().await
}

/// Reads a message and returns its first frame.
///
/// The numbers in the head do not cause allocations: the buffer grows with the
/// bytes that arrive, and never beyond `limit`, the maximum size of the whole
/// message in bytes.
///
/// # Errors
///
/// Returns an error if the connection ends or breaks, or if the message is
/// invalid or larger than `limit`.
pub async fn read_message(reader: &mut (impl AsyncRead + Unpin), limit: u64) -> Result<Vec<u8>, WireError> {
    let head = read_head(reader).await?;
    read_rest(reader, head, limit, &mut Share::default()).await
}

/// Reads the rest of a message after its first number, and takes the bytes of its first frame from `share` as they arrive.
pub(crate) async fn read_rest(
    reader: &mut (impl AsyncRead + Unpin),
    head: [u8; 8],
    limit: u64,
    share: &mut Share,
) -> Result<Vec<u8>, WireError> {
    let garbage = |what| WireError::Garbage { what, head };
    let in_one_piece = u64::from_le_bytes(head);
    // Before waiting for the second number, which a server that is not Dask may never send.
    if in_one_piece < 16 {
        return Err(garbage("a message too short for a frame"));
    }
    if in_one_piece > limit {
        return Err(WireError::TooLarge {
            size: in_one_piece,
            limit,
        });
    }

    let count = read_number(reader, head).await?;
    if count == 0 {
        return Err(garbage("a message without frames"));
    }
    let prelude = count.saturating_mul(8).saturating_add(8);
    if prelude > in_one_piece {
        return Err(garbage("more frames than there is room for their lengths"));
    }
    let first = read_number(reader, head).await?;
    let mut rest = 0_u64;
    for _ in 1..count {
        rest = rest.saturating_add(read_number(reader, head).await?);
    }
    let size = prelude.saturating_add(first).saturating_add(rest);
    if size > limit {
        return Err(WireError::TooLarge { size, limit });
    }
    if in_one_piece > size {
        return Err(garbage("a message longer than its frames"));
    }

    let mut frame = Vec::new();
    let mut missing = first;
    while missing > 0 {
        let piece = missing.min(CHUNK as u64);
        let covered = share.cover(frame.len() + piece as usize).await;
        covered.map_err(|BudgetExhausted| WireError::NoneLeft)?;
        grow(&mut frame, piece as usize);
        let read = reader.take(piece).read_to_end(&mut frame).await?;
        missing -= read as u64;
        if (read as u64) < piece {
            return Err(WireError::Truncated { head: head.to_vec() });
        }
    }
    if tokio::io::copy(&mut reader.take(rest), &mut tokio::io::sink()).await? < rest {
        return Err(WireError::Truncated { head: head.to_vec() });
    }
    Ok(frame)
}

/// Reserves space in a large buffer for another piece. The capacity grows by a quarter at a time, because a vector would
/// double it.
pub(crate) fn grow(buffer: &mut Vec<u8>, piece: usize) {
    // `read_to_end` needs spare capacity beyond the bytes that it reads.
    let spare = piece + 32;
    if buffer.len() >= CHUNK && buffer.capacity() - buffer.len() < spare {
        buffer.reserve_exact(spare.max(buffer.len() / 4));
    }
}

/// Reads the first number of a message, as it was sent.
pub(crate) async fn read_head(reader: &mut (impl AsyncRead + Unpin)) -> Result<[u8; 8], WireError> {
    let mut head = [0; 8];
    let mut filled = 0;
    while filled < head.len() {
        match reader.read(&mut head[filled..]).await? {
            0 if filled == 0 => return Err(WireError::Closed),
            0 => {
                return Err(WireError::Truncated {
                    head: head[..filled].to_vec(),
                });
            }
            count => filled += count,
        }
    }
    Ok(head)
}

async fn read_number(reader: &mut (impl AsyncRead + Unpin), head: [u8; 8]) -> Result<u64, WireError> {
    match reader.read_u64_le().await {
        Ok(number) => Ok(number),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(WireError::Truncated { head: head.to_vec() })
        }
        Err(error) => Err(error.into()),
    }
}
