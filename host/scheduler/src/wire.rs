//! Frames on a connection, and the messages that they make.
//!
//! A message is
//!
//! ```text
//! u64  how many bytes follow in one piece
//! u64  number of frames, n
//! u64  n lengths of frames
//!      the frames
//! ```
//!
//! with all numbers in little-endian order. The first number is no more than a
//! hint for the reader's buffers: a newer release leaves frames out of it that
//! it wants to be read one by one. The lengths of the frames are what counts.
//!
//! The first frame is the message, as MessagePack. What MessagePack can't say
//! (pickled Python objects) is in the frames after it, and that alone can be
//! compressed. Nothing that this crate asks for is in there, so these frames are
//! read and dropped, never decoded.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::budget::{NoneLeft, PIECE, Share};

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side ended the connection where a message could have begun.
    #[error("the connection was closed")]
    Closed,
    /// The other side ended the connection in the middle of a message.
    #[error("the connection was closed in the middle of a message, after {} bytes of its head", head.len())]
    Truncated {
        /// The beginning of the message: at most its first number.
        head: Vec<u8>,
    },
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The message is larger than allowed.
    #[error("a message of {size} bytes; the limit is {limit}")]
    TooLarge {
        /// What its head says.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Other messages have the memory that there is for it.
    #[error("there is no memory for the message now")]
    NoneLeft,
    /// The head of the message contradicts itself.
    #[error("{what}; its first bytes are {head:02x?}")]
    Garbage {
        /// What does not fit.
        what: &'static str,
        /// The message's first number as it was sent.
        head: [u8; 8],
    },
}

/// The bytes of a message of one frame.
pub fn encode(frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u64;
    let mut bytes = Vec::with_capacity(24 + frame.len());
    for number in [length + 16, 1, length] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(frame);
    bytes
}

/// Writes a message of one frame.
pub async fn write_message(writer: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    writer.write_all(&encode(frame)).await?;
    writer.flush().await
}

/// Reads a message, and returns its first frame.
///
/// Nothing is allocated because a number in the head says so: the buffer grows
/// with what really arrives, and never beyond `limit`, which is the most bytes
/// that the message may have in all.
pub async fn read_message(reader: &mut (impl AsyncRead + Unpin), limit: u64) -> Result<Vec<u8>, WireError> {
    let head = read_head(reader).await?;
    read_rest(reader, head, limit, &mut Share::default()).await
}

/// Reads what follows the first number of a message, and takes the bytes of its first frame from `share` as they come.
pub(crate) async fn read_rest(
    reader: &mut (impl AsyncRead + Unpin),
    head: [u8; 8],
    limit: u64,
    share: &mut Share,
) -> Result<Vec<u8>, WireError> {
    let garbage = |what| WireError::Garbage { what, head };
    let in_one_piece = u64::from_le_bytes(head);
    // Before the second number is waited for: what is not Dask may never send it.
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
        let piece = missing.min(PIECE as u64);
        let covered = share.cover(frame.len() + piece as usize).await;
        covered.map_err(|NoneLeft| WireError::NoneLeft)?;
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

/// Makes room in a large buffer for a piece more: a quarter at a time, where a vector by itself would take twice as much as it
/// has.
pub(crate) fn grow(buffer: &mut Vec<u8>, piece: usize) {
    // Reading looks for room beyond what it reads.
    let spare = piece + 32;
    if buffer.len() >= PIECE && buffer.capacity() - buffer.len() < spare {
        buffer.reserve_exact(spare.max(buffer.len() / 4));
    }
}

/// The first number of a message, as it was sent.
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
