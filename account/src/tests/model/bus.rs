//! A bus that loses, repeats, delays and reorders what passes, between the account server and two followers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use irsp_courier::bus::{Attachment, Incoming};
use irsp_protocol::Server;
use irsp_protocol::frame::{self, Item};

use super::copy::Copy;
use super::dice::Dice;

/// Of a hundred items this many are lost, and as many come twice.
const LOST: usize = 20;
const TWICE: usize = 15;
/// Items that may be overtaken at once.
const HELD: usize = 6;

/// The two followers.
pub(super) type Copies = Arc<[Mutex<Copy>; 2]>;

/// An item on its way to a follower, or with `None` to the account server.
type UnderWay = (Option<usize>, Item);

pub(super) fn place(server: Server) -> usize {
    match server {
        Server::Message => 0,
        Server::App | Server::Account => 1,
    }
}

/// Carries until the account server has gone.
pub(super) async fn carry(mut bus: Attachment, copies: Copies, mut dice: Dice) {
    let mut held: Vec<UnderWay> = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(2), bus.outgoing.recv()).await {
            Ok(Some((to, mut bytes))) => {
                while let Some(item) = frame::read(&mut bytes).unwrap() {
                    take(&mut held, &mut dice, (Some(place(to)), item));
                }
            }
            Ok(None) => return,
            Err(_) => {
                for copy in copies.iter() {
                    let asks = copy.lock().unwrap().tick();
                    asks.into_iter()
                        .for_each(|item| take(&mut held, &mut dice, (None, item)));
                }
                // Nothing new comes, so what is held goes on.
                if held.is_empty() {
                    continue;
                }
            }
        }
        let keep = dice.below(HELD);
        while held.len() > keep {
            let (to, item) = held.swap_remove(dice.below(held.len()));
            match to {
                Some(follower) => {
                    let says = copies[follower].lock().unwrap().hear(item);
                    says.into_iter()
                        .for_each(|item| take(&mut held, &mut dice, (None, item)));
                }
                None => {
                    let mut bytes = BytesMut::new();
                    frame::write(&item, &mut bytes);
                    if bus.incoming.send(Incoming::Frame(bytes.freeze())).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn take(held: &mut Vec<UnderWay>, dice: &mut Dice, item: UnderWay) {
    if dice.chance(LOST) {
        return;
    }
    if dice.chance(TWICE) {
        held.push(item.clone());
    }
    held.push(item);
}
