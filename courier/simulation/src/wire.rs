//! What stands in a frame, for the oracle to see and for faults to change.

use bytes::{Bytes, BytesMut};
use irsp_protocol::frame::{self, FrameError, Item};

pub(crate) fn items(mut frame: Bytes) -> Result<Vec<Item>, FrameError> {
    let mut items = Vec::new();
    while let Some(item) = frame::read(&mut frame)? {
        items.push(item);
    }
    Ok(items)
}

pub(crate) fn frame(items: &[Item]) -> Bytes {
    let mut frame = BytesMut::new();
    for item in items {
        frame::write(item, &mut frame);
    }
    frame.freeze()
}
