//! When devices were last connected, which the message server knows (clause 8.3.2). It is asked for each answer that
//! shows devices; while it is away they are shown without.

use std::collections::HashMap;
use std::time::Duration;

use irsp_protocol::api::account::DeviceView;
use irsp_protocol::change::Right;
use irsp_protocol::frame::{Question, Reply};
use irsp_protocol::presence::Connectivity;
use irsp_protocol::{Principal, Server};

use super::caller::Caller;
use crate::account::Account;

/// How long the message server may take: it looks into its memory.
const WITHIN: Duration = Duration::from_millis(500);

/// Adds to the devices what the caller may know of their presence.
pub(super) async fn tell(account: &Account, caller: &Caller, devices: &mut [DeviceView]) {
    let may = |device: &DeviceView| {
        caller.reads_everything()
            || caller
                .person()
                .is_some_and(|user| account.directory.has_right(&device.id, user, Right::Presence))
    };
    let mut devices: Vec<&mut DeviceView> = devices.iter_mut().filter(|device| may(device)).collect();
    if devices.is_empty() {
        return;
    }
    let of = devices.iter().map(|device| Principal::device(device.id.clone()));
    let question = Question::Presence {
        after: None,
        of: of.collect(),
    };
    let Some(Reply::Presence { page, .. }) = account.courier.ask(Server::Message, question, WITHIN).await
    else {
        return;
    };
    let now = account.courier.now();
    let known: HashMap<_, _> = page
        .into_iter()
        .map(|presence| (presence.principal.id, (presence.state, presence.since)))
        .collect();
    for device in &mut devices {
        match known.get(&device.id) {
            Some((Connectivity::Online, _)) => (device.online, device.last_seen) = (Some(true), Some(now)),
            Some((Connectivity::Offline, since)) => {
                (device.online, device.last_seen) = (Some(false), Some(*since));
            }
            Some((Connectivity::Unknown, _)) | None => {}
        }
    }
}
