//! What an account server changes, as its envelopes tell it: a number, and perhaps an order about a device.

use std::fmt;

use irsp_protocol::{Address, Principal};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) number: i64,
    pub(crate) order: Option<Order>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// What waits for the device ends.
    Reset(Principal),
    /// The same, and the other domains are told.
    Delete(Principal),
    /// An application of another domain hears the device, and may push to it, no more.
    Withdraw { device: Principal, from: Address },
    /// Or again.
    Grant { device: Principal, to: Address },
}

impl Change {
    /// `None` if it is none.
    pub(crate) fn read(data: &[u8]) -> Option<Change> {
        let text = std::str::from_utf8(data).ok()?;
        let words: Vec<&str> = text.split(' ').collect();
        let (number, order) = match words[..] {
            [number] => (number, None),
            [number, "reset", device] => (number, Some(Order::Reset(device.parse().ok()?))),
            [number, "delete", device] => (number, Some(Order::Delete(device.parse().ok()?))),
            [number, word @ ("withdraw" | "grant"), device, other] => {
                let (device, other) = (device.parse().ok()?, other.parse().ok()?);
                let order = match word {
                    "grant" => Order::Grant { device, to: other },
                    _ => Order::Withdraw { device, from: other },
                };
                (number, Some(order))
            }
            _ => return None,
        };
        let number = number.parse().ok()?;
        Some(Change { number, order })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number;
        match &self.order {
            None => write!(f, "{number}"),
            Some(Order::Reset(device)) => write!(f, "{number} reset {device}"),
            Some(Order::Delete(device)) => write!(f, "{number} delete {device}"),
            Some(Order::Withdraw { device, from }) => write!(f, "{number} withdraw {device} {from}"),
            Some(Order::Grant { device, to }) => write!(f, "{number} grant {device} {to}"),
        }
    }
}
