//! What other servers and other domains say to this courier, and what is said back: frames in, jobs for the disk out;
//! after the commit the answers.

use std::sync::Arc;

use bytes::Bytes;
use irsp_protocol::frame::{self, Item, Question, Reply};
use irsp_protocol::{Domain, Envelope, Server, Status};
use tokio::sync::OwnedSemaphorePermit;

use super::{Pump, Work};
use crate::bus::Incoming;
use crate::clock::Now;
use crate::hop::{Hop, Origin};
use crate::role::Received;
use crate::service::jobs::{Delivered, Frame, ServerAnswer};
use crate::service::peer::PeerFrame;
use crate::store::Verdict;

/// Questions answered at the same time; more are told that we are busy.
const QUESTIONS_MAX: usize = 64;

impl Pump {
    pub(super) fn greet(&mut self) {
        let from = self.server;
        for server in Server::ALL.into_iter().filter(|server| *server != from) {
            self.outgoing.push(server, &Item::Hello { from });
        }
    }

    pub(in crate::service) fn on_incoming(&mut self, incoming: Incoming, now: Now) {
        match incoming {
            Incoming::Frame(frame) => self.on_frame(frame, now),
            Incoming::Attached => {
                self.greet();
                let own = self.server;
                for server in Server::ALL.into_iter().filter(|server| *server != own) {
                    self.core.heard(server, now);
                }
            }
        }
    }

    fn on_frame(&mut self, mut frame: Bytes, now: Now) {
        self.metrics.frames_received.inc();
        let (mut delivered, mut answers) = (Vec::new(), Vec::new());
        loop {
            match frame::read(&mut frame) {
                Ok(Some(Item::Hello { from })) => self.core.heard(from, now),
                Ok(Some(Item::Deliver {
                    from,
                    place,
                    envelope,
                })) => delivered.push(Delivered {
                    from: Origin::Server(from),
                    place,
                    envelope,
                }),
                Ok(Some(Item::Answer {
                    from,
                    id,
                    status,
                    answer,
                    cause,
                })) => {
                    let hop = Hop::Server(from);
                    answers.push(ServerAnswer {
                        sent_at: self.core.sent_at(&hop, id),
                        hop,
                        id,
                        status,
                        answer,
                        cause,
                    });
                }
                Ok(Some(Item::Ask {
                    from,
                    token,
                    question,
                })) => self.on_question(from, token, question),
                Ok(Some(Item::Reply { token, reply })) => self.work.push_back(Work::Replied { token, reply }),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the rest of a frame is not understood");
                    break;
                }
            }
        }
        if delivered.is_empty() && answers.is_empty() {
            return;
        }
        self.frames_under_way += 1;
        self.store_frame(delivered, answers, None);
    }

    pub(super) fn on_peer_frame(&mut self, peer: &Domain, said: PeerFrame, permit: OwnedSemaphorePermit) {
        self.metrics.frames_received.inc();
        let hop = Hop::Peer(peer.clone());
        let answers = said.answers.into_iter().map(|told| ServerAnswer {
            sent_at: self.core.sent_at(&hop, told.id),
            hop: hop.clone(),
            id: told.id,
            status: told.status,
            answer: told.answer,
            cause: told.cause,
        });
        let answers = answers.collect();
        let delivered = said.delivered.into_iter().map(|(place, envelope)| Delivered {
            from: Origin::Peer(peer.clone()),
            place,
            envelope,
        });
        self.store_frame(delivered.collect(), answers, Some(permit));
    }

    fn store_frame(
        &mut self,
        delivered: Vec<Delivered>,
        answers: Vec<ServerAnswer>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let job = Frame {
            role: Arc::clone(&self.role),
            delivered,
            verdicts: Vec::new(),
            answers,
            stale: Vec::new(),
            failures_max: self.failures_max,
            permit,
            events: self.report.clone(),
        };
        self.write(job);
    }

    pub(super) fn on_received(&mut self, delivered: Vec<((Origin, Envelope), Verdict)>, now: Now) {
        let from = self.server;
        for ((origin, envelope), verdict) in delivered {
            if let Some(status) = verdict.answer {
                self.upkeep.wrote(now);
                let answer = Item::Answer {
                    from,
                    id: envelope.id,
                    status,
                    answer: verdict.said,
                    cause: verdict.cause,
                };
                match &origin {
                    Origin::Server(server) => self.outgoing.push(*server, &answer),
                    Origin::Peer(peer) => {
                        if let Some(outlet) = self.peers.get_mut(peer) {
                            outlet.push(&answer, &self.metrics);
                        }
                    }
                }
            }
            match verdict.decided {
                Some(outcome @ (Received::Ended(_) | Received::Forward(_))) => {
                    self.role.received(envelope, &outcome);
                }
                Some(Received::Later) | None => {}
            }
        }
    }

    fn on_question(&mut self, from: Server, token: u64, question: Question) {
        if self.questions_under_way >= QUESTIONS_MAX {
            let reply = Reply::Unanswered(Status::UNAVAILABLE);
            self.outgoing.push(from, &Item::Reply { token, reply });
            return;
        }
        self.questions_under_way += 1;
        self.work.push_back(Work::Question {
            from,
            token,
            question,
        });
    }

    /// What became of a question; without a reply whoever asked asks again.
    pub(in crate::service) fn on_reply(&mut self, reply: Option<(Server, u64, Reply)>) {
        self.questions_under_way -= 1;
        if let Some((to, token, reply)) = reply {
            self.outgoing.push(to, &Item::Reply { token, reply });
        }
    }
}
