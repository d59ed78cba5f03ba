//! The copy in memory. Of two states of one entity the one with the greater number is the newer, and an entity that
//! is gone leaves its number behind, so changes and snapshot entries may meet in any order and end in the same state.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use irsp_protocol::change::{
    Application, Binding, Cause, Change, Delivery, Device, Entity, EntityKey, Right, Scope, TokenKey, User,
};
use irsp_protocol::credential::Certificate;
use irsp_protocol::peer::{Grant, Peer};
use irsp_protocol::secret::SecretHash;
use irsp_protocol::{Address, Domain, Id, Kind, Principal, Status};

use crate::consequence::{self, Account as _, Consequence};
use crate::follow::Sweep;
use crate::key::HashKey;

/// Principals, credentials, bindings and grants of one domain. Shared as `Arc<Directory>`; every call is short.
#[derive(Debug)]
pub struct Directory {
    key: HashKey,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    applied: u64,
    users: Table<Id, User>,
    devices: Table<Id, Device>,
    applications: Table<Id, Application>,
    bindings: Table<(Id, Id), Binding>,
    token_keys: Table<String, TokenKey>,
    pub(crate) peers: Table<Domain, Peer>,
    pub(crate) grants: Table<(Principal, Address), Grant>,
    /// Who abroad hears a principal, by live grants.
    pub(crate) heard_by: HashMap<Principal, BTreeSet<Address>>,
    /// Both ways of `bindings`, live ones only.
    devices_of_user: HashMap<Id, BTreeSet<Id>>,
    users_of_device: HashMap<Id, BTreeSet<Id>>,
    /// The applications that are attached.
    attached: BTreeSet<Id>,
    /// Who holds an application key or a machine token. Device codes are not here: they open MQTT only.
    holders: HashMap<SecretHash, Principal>,
    /// Which device has registered a certificate.
    certificates: HashMap<Certificate, Id>,
}

/// Entities of one kind by their key.
#[derive(Debug)]
pub(crate) struct Table<K, V>(HashMap<K, Slot<V>>);

#[derive(Debug)]
struct Slot<V> {
    /// The change that last touched it.
    n: u64,
    /// `None` when it is gone.
    entity: Option<Arc<V>>,
}

/// What a table held and holds now.
struct Replaced<V> {
    before: Option<Arc<V>>,
    after: Option<Arc<V>>,
}

impl Directory {
    pub fn new(key: HashKey) -> Directory {
        Directory {
            key,
            state: RwLock::default(),
        }
    }

    pub fn hash_key(&self) -> &HashKey {
        &self.key
    }

    /// Takes over a change if it is newer than what is held, and says what follows from it. Changes come in order;
    /// one that `applied` already covers does nothing, even if a snapshot has forgotten its entity since.
    pub fn apply(&self, change: &Change) -> Vec<Consequence> {
        let mut state = self.write();
        if change.n <= state.applied {
            return Vec::new();
        }
        if change.n == state.applied + 1 {
            state.applied = change.n;
        }
        state.set(change.n, &change.key, change.entity.as_ref(), Some(change.cause))
    }

    /// Takes over an entry of a snapshot if it is newer than what is held.
    pub fn merge(&self, n: u64, entity: Entity) -> Vec<Consequence> {
        self.write().set(n, &entity.key(), Some(&entity), None)
    }

    /// Ends a snapshot: what it did not name, and what is no newer than it, is gone.
    pub fn sweep(&self, sweep: &Sweep) -> Vec<Consequence> {
        let mut state = self.write();
        let consequences = state
            .live()
            .filter(|(n, key)| sweep.removes(*n, key))
            .map(|(_, key)| key)
            .collect::<Vec<_>>()
            .iter()
            .flat_map(|key| state.set(sweep.at(), key, None, None))
            .collect();
        state.applied = state.applied.max(sweep.at());
        consequences
    }

    /// Puts back what the disk holds, the traces of what is gone included.
    pub(crate) fn restore(&self, n: u64, key: &EntityKey, entity: Option<&Entity>) {
        self.write().set(n, key, entity, None);
    }

    pub(crate) fn restore_applied(&self, applied: u64) {
        self.write().applied = applied;
    }

    /// The number of the last change up to which nothing is missing.
    pub fn applied(&self) -> u64 {
        self.read().applied
    }

    pub fn user(&self, id: &Id) -> Option<Arc<User>> {
        self.read().users.live(id)
    }

    pub fn device(&self, id: &Id) -> Option<Arc<Device>> {
        self.read().devices.live(id)
    }

    pub fn application(&self, id: &Id) -> Option<Arc<Application>> {
        self.read().applications.live(id)
    }

    pub fn token_key(&self, id: &str) -> Option<Arc<TokenKey>> {
        self.read().token_keys.live(id)
    }

    pub fn binding(&self, device: &Id, user: &Id) -> Option<Arc<Binding>> {
        self.read().bindings.live(&(device.clone(), user.clone()))
    }

    pub fn is_bound(&self, device: &Id, user: &Id) -> bool {
        self.read().is_bound(device, user)
    }

    /// Whether the user owns the device, or shares it with this right.
    pub fn has_right(&self, device: &Id, user: &Id, right: Right) -> bool {
        self.read().has_right(device, user, right)
    }

    /// The devices a user owns or shares, in order of their ids.
    pub fn bindings_of_user(&self, user: &Id) -> Vec<Id> {
        listed(self.read().devices_of_user.get(user))
    }

    /// Those of them with this right.
    pub fn devices_with_right(&self, user: &Id, right: Right) -> Vec<Id> {
        let state = self.read();
        let mut devices = listed(state.devices_of_user.get(user));
        devices.retain(|device| state.has_right(device, user, right));
        devices
    }

    /// The users who own or share a device, in order of their ids.
    pub fn users_of_device(&self, device: &Id) -> Vec<Id> {
        listed(self.read().users_of_device.get(device))
    }

    /// Everything that is held, to compare with the source.
    #[cfg(test)]
    pub(crate) fn entities(&self) -> std::collections::BTreeMap<EntityKey, (u64, Entity)> {
        let state = self.read();
        let entity = |key: &EntityKey| match key {
            EntityKey::Principal(Principal { kind: Kind::User, id }) => {
                state.users.live(id).map(|e| Entity::User((*e).clone()))
            }
            EntityKey::Principal(Principal {
                kind: Kind::Device,
                id,
            }) => state.devices.live(id).map(|e| Entity::Device((*e).clone())),
            EntityKey::Principal(Principal { id, .. }) => state
                .applications
                .live(id)
                .map(|e| Entity::Application((*e).clone())),
            EntityKey::Binding { device, user } => {
                assert!(state.is_bound(device, user));
                let key = (device.clone(), user.clone());
                state.bindings.live(&key).map(|e| Entity::Binding((*e).clone()))
            }
            EntityKey::TokenKey(id) => state.token_keys.live(id).map(|e| Entity::TokenKey((*e).clone())),
            EntityKey::Peer(domain) => state.peers.live(domain).map(|e| Entity::Peer((*e).clone())),
            EntityKey::Grant { principal, to } => {
                let key = (principal.clone(), to.clone());
                state.grants.live(&key).map(|e| Entity::Grant((*e).clone()))
            }
        };
        state
            .live()
            .filter_map(|(n, key)| entity(&key).map(|e| (key, (n, e))))
            .collect()
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // Each write leaves the maps whole before it can panic, so a poisoned lock guards good data.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn is_bound(&self, device: &Id, user: &Id) -> bool {
        self.devices_of_user
            .get(user)
            .is_some_and(|devices| devices.contains(device))
    }

    pub(crate) fn has_right(&self, device: &Id, user: &Id, right: Right) -> bool {
        self.bindings
            .live(&(device.clone(), user.clone()))
            .is_some_and(|binding| binding.owner || binding.rights.includes(right))
    }

    /// Whose application key or machine token this is.
    pub(crate) fn holder(&self, secret: &SecretHash) -> Option<&Principal> {
        self.holders.get(secret)
    }

    /// Which device has registered this certificate.
    pub(crate) fn certified(&self, certificate: &Certificate) -> Option<&Id> {
        self.certificates.get(certificate)
    }

    /// Exists and is enabled, else 404, 410 or 403.
    pub(crate) fn check(&self, principal: &Principal) -> Result<(), Status> {
        match principal.kind {
            Kind::User => self.users.find(&principal.id)?.standing().enabled(),
            Kind::Device => self.devices.find(&principal.id)?.standing().enabled(),
            Kind::Application => self.applications.find(&principal.id)?.standing().enabled(),
            // These are not in the directory.
            Kind::External | Kind::Peer | Kind::Server => Err(Status::NOT_FOUND),
        }
    }

    pub(crate) fn find_user(&self, id: &Id) -> Result<Arc<User>, Status> {
        self.users.find(id)
    }

    pub(crate) fn applications(&self) -> impl Iterator<Item = Arc<Application>> {
        self.applications
            .0
            .values()
            .filter_map(|slot| slot.entity.clone())
    }

    pub(crate) fn attached(&self) -> impl Iterator<Item = Arc<Application>> {
        self.attached.iter().filter_map(|id| self.applications.live(id))
    }

    pub(crate) fn find_application(&self, id: &Id) -> Result<Arc<Application>, Status> {
        self.applications.find(id)
    }

    /// Every entity that is held, with the change that last touched it.
    fn live(&self) -> impl Iterator<Item = (u64, EntityKey)> {
        let principal =
            |kind| move |(n, id): (u64, &Id)| (n, EntityKey::Principal(Principal::new(kind, id.clone())));
        self.users
            .numbers()
            .map(principal(Kind::User))
            .chain(self.devices.numbers().map(principal(Kind::Device)))
            .chain(self.applications.numbers().map(principal(Kind::Application)))
            .chain(self.bindings.numbers().map(|(n, (device, user))| {
                let (device, user) = (device.clone(), user.clone());
                (n, EntityKey::Binding { device, user })
            }))
            .chain(
                self.token_keys
                    .numbers()
                    .map(|(n, id)| (n, EntityKey::TokenKey(id.clone()))),
            )
            .chain(
                self.peers
                    .numbers()
                    .map(|(n, domain)| (n, EntityKey::Peer(domain.clone()))),
            )
            .chain(self.grants.numbers().map(|(n, (principal, to))| {
                let (principal, to) = (principal.clone(), to.clone());
                (n, EntityKey::Grant { principal, to })
            }))
    }

    /// Sets one entity if `n` is newer than what is held.
    fn set(
        &mut self,
        n: u64,
        key: &EntityKey,
        entity: Option<&Entity>,
        cause: Option<Cause>,
    ) -> Vec<Consequence> {
        match entity {
            Some(Entity::User(user)) => self.set_user(n, &user.id, Some(user), cause),
            Some(Entity::Device(device)) => self.set_device(n, &device.id, Some(device), cause),
            Some(Entity::Application(app)) => self.set_application(n, &app.id, Some(app), cause),
            Some(Entity::Binding(b)) => self.set_binding(n, &b.device, &b.user, Some(b)),
            Some(Entity::TokenKey(token_key)) => self.set_token_key(n, &token_key.id, Some(token_key)),
            Some(Entity::Peer(peer)) => self.set_peer(n, &peer.domain, Some(peer)),
            Some(Entity::Grant(grant)) => self.set_grant(n, &grant.principal, &grant.to, Some(grant)),
            None => match key {
                EntityKey::Principal(principal) => match principal.kind {
                    Kind::User => self.set_user(n, &principal.id, None, cause),
                    Kind::Device => self.set_device(n, &principal.id, None, cause),
                    Kind::Application => self.set_application(n, &principal.id, None, cause),
                    Kind::External | Kind::Peer | Kind::Server => Vec::new(),
                },
                EntityKey::Binding { device, user } => self.set_binding(n, device, user, None),
                EntityKey::TokenKey(id) => self.set_token_key(n, id, None),
                EntityKey::Peer(domain) => self.set_peer(n, domain, None),
                EntityKey::Grant { principal, to } => self.set_grant(n, principal, to, None),
            },
        }
    }

    fn set_user(&mut self, n: u64, id: &Id, user: Option<&User>, cause: Option<Cause>) -> Vec<Consequence> {
        let Some(Replaced { before, after }) = self.users.set(n, id, user) else {
            return Vec::new();
        };
        let principal = Principal::user(id.clone());
        let (before, after) = (before.as_deref(), after.as_deref());
        self.hold(
            &principal,
            before.map_or(&[], |user| &user.tokens),
            after.map_or(&[], |user| &user.tokens),
        );
        consequence::of_principal(&principal, cause, before, after)
    }

    fn set_device(
        &mut self,
        n: u64,
        id: &Id,
        device: Option<&Device>,
        cause: Option<Cause>,
    ) -> Vec<Consequence> {
        let Some(Replaced { before, after }) = self.devices.set(n, id, device) else {
            return Vec::new();
        };
        let (before, after) = (before.as_deref(), after.as_deref());
        for certificate in before.map_or(&[][..], |device| &device.certificates) {
            if self.certificates.get(certificate) == Some(id) {
                self.certificates.remove(certificate);
            }
        }
        for certificate in after.map_or(&[][..], |device| &device.certificates) {
            self.certificates.insert(certificate.clone(), id.clone());
        }
        let principal = Principal::device(id.clone());
        consequence::of_principal(&principal, cause, before, after)
    }

    fn set_application(
        &mut self,
        n: u64,
        id: &Id,
        app: Option<&Application>,
        cause: Option<Cause>,
    ) -> Vec<Consequence> {
        let Some(Replaced { before, after }) = self.applications.set(n, id, app) else {
            return Vec::new();
        };
        let principal = Principal::application(id.clone());
        let (before, after) = (before.as_deref(), after.as_deref());
        if after.is_some_and(|app| app.delivery == Delivery::Attached) {
            self.attached.insert(id.clone());
        } else {
            self.attached.remove(id);
        }
        self.hold(
            &principal,
            before.map_or(&[], |app| &app.keys),
            after.map_or(&[], |app| &app.keys),
        );
        let mut follows = consequence::of_principal(&principal, cause, before, after);
        if let (Some(before), Some(after)) = (before, after) {
            follows.extend(self.hears_of_others(&before.hears, &after.hears));
        }
        follows
    }

    /// The peers of whose principals an application hears others than before.
    fn hears_of_others(&self, before: &Scope, after: &Scope) -> Vec<Consequence> {
        let peers = self.peers.all().map(|peer| &peer.domain);
        let others = peers.filter(|domain| before.of_domain(domain) != after.of_domain(domain));
        others
            .map(|domain| Consequence::Hears {
                domain: domain.clone(),
            })
            .collect()
    }

    fn set_binding(&mut self, n: u64, device: &Id, user: &Id, binding: Option<&Binding>) -> Vec<Consequence> {
        let Some(replaced) = self.bindings.set(n, &(device.clone(), user.clone()), binding) else {
            return Vec::new();
        };
        if replaced.after.is_some() {
            join(&mut self.devices_of_user, user, device);
            join(&mut self.users_of_device, device, user);
        } else {
            part(&mut self.devices_of_user, user, device);
            part(&mut self.users_of_device, device, user);
        }
        let Replaced { before, after } = replaced;
        let lost = consequence::of_binding(before.as_deref(), after.as_deref());
        lost.into_iter().collect()
    }

    /// A signing key that goes ends no session: tokens are short-lived, and whoever must leave at once is disabled
    /// or has `tokens_from` raised.
    fn set_token_key(&mut self, n: u64, id: &String, key: Option<&TokenKey>) -> Vec<Consequence> {
        self.token_keys.set(n, id, key);
        Vec::new()
    }

    fn set_peer(&mut self, n: u64, domain: &Domain, peer: Option<&Peer>) -> Vec<Consequence> {
        let changed = self.peers.set(n, domain, peer).map(|_| Consequence::Peer {
            domain: domain.clone(),
        });
        changed.into_iter().collect()
    }

    fn set_grant(
        &mut self,
        n: u64,
        principal: &Principal,
        to: &Address,
        grant: Option<&Grant>,
    ) -> Vec<Consequence> {
        let key = (principal.clone(), to.clone());
        if self.grants.set(n, &key, grant).is_none() {
            return Vec::new();
        }
        let (principal, to) = key;
        if grant.is_some_and(|grant| grant.hears) {
            let heard_by = self.heard_by.entry(principal.clone()).or_default();
            heard_by.insert(to.clone());
        } else if let Some(heard_by) = self.heard_by.get_mut(&principal) {
            heard_by.remove(&to);
            if heard_by.is_empty() {
                self.heard_by.remove(&principal);
            }
        }
        vec![Consequence::Granted { principal, to }]
    }

    /// Keeps `holders` in step with one principal's secrets.
    fn hold(&mut self, principal: &Principal, before: &[SecretHash], after: &[SecretHash]) {
        for secret in before {
            if self.holders.get(secret) == Some(principal) {
                self.holders.remove(secret);
            }
        }
        for secret in after {
            self.holders.insert(*secret, principal.clone());
        }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Table<K, V> {
        Table(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Table<K, V> {
    /// Puts an entity, or the trace of one that is gone. `None` when what is held is as new.
    fn set(&mut self, n: u64, key: &K, entity: Option<&V>) -> Option<Replaced<V>> {
        let slot = self.0.entry(key.clone()).or_insert(Slot { n: 0, entity: None });
        if n <= slot.n {
            return None;
        }
        slot.n = n;
        let after = entity.cloned().map(Arc::new);
        let before = std::mem::replace(&mut slot.entity, after.clone());
        Some(Replaced { before, after })
    }

    pub(crate) fn live<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).and_then(|slot| slot.entity.clone())
    }

    /// 404 for what never was, 410 for what is gone.
    fn find(&self, key: &K) -> Result<Arc<V>, Status> {
        let slot = self.0.get(key).ok_or(Status::NOT_FOUND)?;
        slot.entity.clone().ok_or(Status::DELETED)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<V>> {
        self.0.values().filter_map(|slot| slot.entity.as_ref())
    }

    fn numbers(&self) -> impl Iterator<Item = (u64, &K)> {
        self.0
            .iter()
            .filter(|(_, slot)| slot.entity.is_some())
            .map(|(key, slot)| (slot.n, key))
    }
}

fn join(map: &mut HashMap<Id, BTreeSet<Id>>, one: &Id, other: &Id) {
    map.entry(one.clone()).or_default().insert(other.clone());
}

fn part(map: &mut HashMap<Id, BTreeSet<Id>>, one: &Id, other: &Id) {
    if let Some(others) = map.get_mut(one) {
        others.remove(other);
        if others.is_empty() {
            map.remove(one);
        }
    }
}

fn listed(ids: Option<&BTreeSet<Id>>) -> Vec<Id> {
    ids.into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests;
