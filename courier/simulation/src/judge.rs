//! Judgement at the quiet end: what was told, what took place and what is on record agree.

use std::collections::{BTreeMap, BTreeSet};

use irsp_protocol::{Address, MessageId, MessageKind, Server, State, Status};

use crate::home::Home;
use crate::oracle::{End, Oracle, Rule, Sent, Verdict};
use crate::plan::Clocks;

impl Oracle {
    /// At the quiet end: what was told, what took place and what is on record agree.
    pub(crate) fn judge(&self, effects: &[(Home, Vec<MessageId>)]) -> Verdict {
        for (home, effects) in effects {
            self.judge_effects(*home, effects)?;
        }
        let took_effect = |id: &MessageId| effects.iter().any(|(_, effects)| effects.contains(id));
        for (id, (_, sent)) in &self.sent {
            let end = self.ended.get(&(sent.origin, *id));
            let Some(end) = end else {
                if self.acked.contains(id) && !self.plan.may_forget() {
                    return self.broken(
                        Rule::Lost,
                        format!("{id} was acknowledged and has no end: {sent:?}"),
                    );
                }
                continue;
            };
            let may_expire = sent.short_lived || self.plan.clocks == Clocks::Months;
            if end.status == Status::EXPIRED {
                if !may_expire {
                    return self.broken(Rule::Lost, format!("{id} expired before its time: {sent:?}"));
                }
                continue;
            }
            if State::of(end.status) == State::Undeliverable {
                if self.plan.moods == 0 {
                    return self.broken(Rule::Lost, format!("{id} failed, and nobody fails: {sent:?}"));
                }
                // Its receiver's late word has come, or was lost on the way.
                let hears_all = self.plan.hears_all() && !self.operated.contains(id);
                if hears_all && sent.kind == MessageKind::Upload && took_effect(id) {
                    return self.broken(
                        Rule::Disagreement,
                        format!("{id} failed and took effect: {sent:?}"),
                    );
                }
                continue;
            }
            self.judge_custody(*id, sent, end)?;
            // The order may have crossed what was under way.
            if end.status == Status::FORBIDDEN && self.lost_its_grant(sent) {
                continue;
            }
            // Who has forgotten what its sender has asked before is told by the next server.
            if end.status == Status::DUPLICATE && sent.sender_id.is_some() && self.plan.forgets {
                continue;
            }
            match sent.kind {
                MessageKind::Upload | MessageKind::Message => {
                    let expected = if sent.refused {
                        Status::CONFLICT
                    } else {
                        Status::DONE
                    };
                    let done = took_effect(id);
                    if end.status != expected || done == sent.refused {
                        let what = format!("{id} ended with {}, effect {done}: {sent:?}", end.status);
                        return self.broken(Rule::Disagreement, what);
                    }
                }
                MessageKind::Push | MessageKind::Status | MessageKind::Presence | MessageKind::Directory => {}
            }
        }
        self.judge_answers()
    }

    fn judge_effects(&self, home: Home, effects: &[MessageId]) -> Verdict {
        let remembered = self.plan.remembers();
        let (mut ids, mut sender_ids) = (BTreeSet::new(), BTreeSet::new());
        let mut last: BTreeMap<(&Address, &Address), usize> = BTreeMap::new();
        for id in effects {
            let Some((place, sent)) = self.sent.get(id) else {
                return self.broken(
                    Rule::Disagreement,
                    format!("an effect of {id}, which nobody sent"),
                );
            };
            if sent.destination.domain != Some(home.domain()) {
                let what = format!("{id} took effect in {home:?}: {sent:?}");
                return self.broken(Rule::Disagreement, what);
            }
            if !ids.insert(id) && remembered {
                return self.broken(Rule::EffectTwice, format!("{id} took effect twice: {sent:?}"));
            }
            let known = sent
                .sender_id
                .as_ref()
                .is_none_or(|own| sender_ids.insert((&sent.source, own)));
            if !known && remembered && !self.plan.forgets {
                return self.broken(
                    Rule::EffectTwice,
                    format!("{id} is a repeat that took effect: {sent:?}"),
                );
            }
            // What its sender has given up may come late.
            if self.given_up(*id, sent) {
                continue;
            }
            let before = last.insert((&sent.source, &sent.destination), *place);
            if before.is_some_and(|before| before > *place) && remembered {
                return self.broken(Rule::Order, format!("{id} took effect too late: {sent:?}"));
            }
        }
        Ok(())
    }

    /// How many messages from one domain to another were done.
    pub(crate) fn done_abroad(&self) -> u64 {
        let abroad = self.sent.iter().filter(|(_, (_, sent))| !sent.is_at_home());
        let ends = abroad.filter_map(|(id, (_, sent))| self.ended.get(&(sent.origin, *id)));
        ends.map(|end| u64::from(end.status == Status::DONE)).sum()
    }

    /// Everybody who has taken it over knows the same end.
    fn judge_custody(&self, id: MessageId, sent: &Sent, end: &End) -> Verdict {
        for site in sent.custodians() {
            match self.ended.get(&(site, id)) {
                // Its own domain has taken the right from what was sent and not answered: the other may have done it.
                Some(_)
                    if end.status == Status::FORBIDDEN
                        && sent.kind == MessageKind::Upload
                        && self.lost_its_grant(sent) => {}
                Some(there) if there != end && self.plan.keeps_ends() => {
                    let what = format!("{id} ended with {end:?}, at {site} with {there:?}: {sent:?}");
                    return self.broken(Rule::Disagreement, what);
                }
                Some(_) => {}
                None if self.plan.forgets => {}
                // Refused before it was taken over.
                None if end.status == Status::FORBIDDEN && self.lost_its_grant(sent) => {}
                None => {
                    let what = format!("{id} ended with {end:?}, not at {site}: {sent:?}");
                    return self.broken(Rule::Disagreement, what);
                }
            }
        }
        Ok(())
    }

    /// Every other domain has heard of each deletion, once.
    pub(crate) fn judge_departures(
        &self,
        deletions: &[(Home, Vec<i64>)],
        departures: &[(Home, Vec<(String, i64)>)],
    ) -> Verdict {
        for (home, numbers) in deletions {
            let domain = home.domain();
            for (at, heard) in departures.iter().filter(|(at, _)| at != home) {
                let mut heard: Vec<i64> = heard
                    .iter()
                    .filter(|(of, _)| of == domain.as_str())
                    .map(|(_, number)| *number)
                    .collect();
                heard.sort_unstable();
                if heard.windows(2).any(|pair| pair[0] == pair[1]) && self.plan.remembers() {
                    let what = format!("{at:?} took deletions of {home:?} twice: {heard:?}");
                    return self.broken(Rule::EffectTwice, what);
                }
                heard.dedup();
                if heard != *numbers && self.plan.clocks != Clocks::Months && self.plan.moods == 0 {
                    let what = format!("{at:?} knows the deletions {heard:?} of {numbers:?} in {home:?}");
                    return self.broken(Rule::Lost, what);
                }
            }
        }
        Ok(())
    }

    fn judge_answers(&self) -> Verdict {
        if !self.plan.keeps_ends() {
            return Ok(());
        }
        for (id, code) in &self.answered {
            let session = self.sent.get(id).and_then(|(_, sent)| {
                let whole = |home: &Home| Some(home.domain()) == sent.destination.domain;
                Home::all(self.plan.domains).find(whole)
            });
            let Some(home) = session else { continue };
            match self.ended.get(&(home.at(Server::Message), *id)) {
                Some(End {
                    status: Status::DONE,
                    answer: Some(answer),
                }) if answer.code == *code => {}
                None if self.plan.forgets => {}
                other => {
                    let what = format!("{id} was answered {code} and ended with {other:?}");
                    return self.broken(Rule::Lost, what);
                }
            }
        }
        Ok(())
    }
}
