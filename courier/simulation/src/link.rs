//! Links between the message servers of two domains: bytes in order, as long as they live. One that is cut loses what is
//! under way, and its two ends hear of it each in its own time.

use bytes::BytesMut;
use irsp_courier::ManualPort;

use crate::dice::Dice;
use crate::home::Home;

/// A connection between two domains; the first end has dialled it.
pub(crate) struct Link {
    pub(crate) ends: [End; 2],
    /// Nothing passes any more.
    pub(crate) is_cut: bool,
}

pub(crate) struct End {
    pub(crate) home: Home,
    pub(crate) standing: Standing,
    /// A newer link has taken its place.
    pub(crate) is_replaced: bool,
    /// Bytes on their way to this end.
    pub(crate) coming: BytesMut,
    /// Bytes that have arrived and are not a whole part yet, or wait for the courier.
    pub(crate) arrived: BytesMut,
}

pub(crate) enum Standing {
    /// Connected, and not yet known to the courier.
    Greeting,
    Open(ManualPort),
    Closed,
}

/// Whether a new link takes the place of the one there is, by who has dialled them: the greater name's stays, and a second
/// one by the same side replaces the first. As the message server has it (`broker/src/federation/links.rs`).
pub(crate) fn replaces(there: Home, new: Home) -> bool {
    new >= there
}

impl Link {
    pub(crate) fn new(dialler: Home, other: Home) -> Link {
        Link {
            ends: [End::new(dialler), End::new(other)],
            is_cut: false,
        }
    }

    /// Of what is under way a part may have arrived.
    pub(crate) fn cut(&mut self, dice: &mut Dice) {
        self.is_cut = true;
        for end in &mut self.ends {
            let arrives = dice.place(end.coming.len() + 1);
            end.arrived.unsplit(end.coming.split_to(arrives));
            end.coming.clear();
        }
    }

    pub(crate) fn joins(&self, one: Home, other: Home) -> bool {
        let homes = self.ends.each_ref().map(|end| end.home);
        homes == [one, other] || homes == [other, one]
    }

    /// Whether both ends may yet speak over it.
    pub(crate) fn is_alive(&self) -> bool {
        let lives = |end: &End| !matches!(end.standing, Standing::Closed) && !end.is_replaced;
        !self.is_cut && self.ends.iter().all(lives)
    }

    pub(crate) fn is_gone(&self) -> bool {
        let closed = |end: &End| matches!(end.standing, Standing::Closed);
        self.ends.iter().all(closed)
    }

    /// Whether something is under way that may still arrive.
    pub(crate) fn carries(&self) -> bool {
        let waits = |end: &End| {
            let is_empty = end.coming.is_empty() && end.arrived.is_empty();
            !(is_empty || matches!(end.standing, Standing::Closed))
        };
        self.ends.iter().any(waits)
    }
}

impl End {
    fn new(home: Home) -> End {
        End {
            home,
            standing: Standing::Greeting,
            is_replaced: false,
            coming: BytesMut::new(),
            arrived: BytesMut::new(),
        }
    }

    /// Its server is gone, or has given it up.
    pub(crate) fn close(&mut self) -> Standing {
        self.coming.clear();
        self.arrived.clear();
        std::mem::replace(&mut self.standing, Standing::Closed)
    }
}
