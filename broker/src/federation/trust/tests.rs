use std::time::{Duration, SystemTime};

use irsp_protocol::peer::Policy;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { params, key, pem }
    }

    fn issue(
        &self,
        name: SanType,
        usage: ExtendedKeyUsagePurpose,
        until: SystemTime,
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        params.not_before = (SystemTime::now() - 2 * DAY).into();
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(&key, &issuer).unwrap().der().clone()
    }

    fn of(&self, domain: &str) -> CertificateDer<'static> {
        let until = SystemTime::now() + DAY;
        self.issue(uri(domain), ExtendedKeyUsagePurpose::ClientAuth, until)
    }
}

fn uri(domain: &str) -> SanType {
    SanType::URI(format!("irsp://{domain}/srv/message").try_into().unwrap())
}

fn peer(domain: &str, trust: Trust) -> Peer {
    Peer {
        domain: Domain::new(domain).unwrap(),
        trust,
        urls: Vec::new(),
        inward: Policy::default(),
        outward: Policy::default(),
        rate_max: 1,
        out_rate_max: None,
        state: PeerState::Active,
    }
}

fn identified(peers: &[Peer], certificate: CertificateDer<'static>) -> Result<String, Untrusted> {
    let find = |domain: &Domain| peers.iter().find(|peer| peer.domain == *domain).cloned();
    let identified = identify(&[certificate], UnixTime::now(), find);
    let told = |refused: Refused| {
        let stranger = refused.why == Untrusted::Stranger;
        assert_eq!(
            refused.named.is_none(),
            stranger,
            "it is told which peer it was to be"
        );
        refused.why
    };
    identified.map(|domain| domain.to_string()).map_err(told)
}

#[test]
fn a_peer_is_known_by_its_authority_and_its_name() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let peers = [
        peer("b.example", Trust::Authority(theirs.pem.clone())),
        peer("c.example", Trust::Authority(ours.pem.clone())),
    ];
    assert_eq!(identified(&peers, theirs.of("b.example")).unwrap(), "b.example");
    assert_eq!(
        identified(&peers, ours.of("b.example")),
        Err(Untrusted::Authority)
    );
    assert_eq!(
        identified(&peers, theirs.of("c.example")),
        Err(Untrusted::Authority),
        "an authority speaks for its own peer only"
    );
    assert_eq!(
        identified(&peers, theirs.of("d.example")),
        Err(Untrusted::Stranger)
    );
    let until = SystemTime::now() + DAY;
    let by_host = SanType::DnsName("b.example".try_into().unwrap());
    let by_host = theirs.issue(by_host, ExtendedKeyUsagePurpose::ClientAuth, until);
    assert_eq!(identified(&peers, by_host).unwrap(), "b.example");
}

#[test]
fn a_broken_block_takes_nothing_from_a_good_one() {
    let theirs = Authority::new();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let both = format!("{broken}{}", theirs.pem);
    let peers = [peer("b.example", Trust::Authority(both))];
    assert_eq!(
        identified(&peers, theirs.of("b.example")),
        Ok("b.example".to_owned())
    );
}

#[test]
fn time_use_and_a_pause_count() {
    let theirs = Authority::new();
    let mut peers = [peer("b.example", Trust::Authority(theirs.pem.clone()))];
    let past = SystemTime::now() - DAY;
    let expired = theirs.issue(uri("b.example"), ExtendedKeyUsagePurpose::ClientAuth, past);
    assert_eq!(identified(&peers, expired.clone()), Err(Untrusted::Expired));
    let until = SystemTime::now() + DAY;
    let server = theirs.issue(uri("b.example"), ExtendedKeyUsagePurpose::ServerAuth, until);
    assert_eq!(identified(&peers, server.clone()), Err(Untrusted::Authority));
    assert_eq!(check(&peers[0], &[server], UnixTime::now(), Side::Server), Ok(()));

    let by_fingerprint = peer("b.example", Trust::Fingerprint(fingerprint(&expired)));
    assert_eq!(identified(&[by_fingerprint], expired), Err(Untrusted::Expired));
    peers[0].state = PeerState::Paused;
    assert_eq!(identified(&peers, theirs.of("b.example")), Err(Untrusted::Paused));
}

#[test]
fn a_fingerprint_is_one_certificate() {
    let anybody = Authority::new();
    let (known, other) = (anybody.of("b.example"), anybody.of("b.example"));
    let peers = [peer("b.example", Trust::Fingerprint(fingerprint(&known)))];
    assert_eq!(identified(&peers, known.clone()).unwrap(), "b.example");
    assert_eq!(identified(&peers, other), Err(Untrusted::Fingerprint));
    let elsewhere = [peer("c.example", Trust::Fingerprint(fingerprint(&known)))];
    assert_eq!(identified(&elsewhere, known.clone()), Err(Untrusted::Stranger));
    assert_eq!(
        check(&elsewhere[0], &[known], UnixTime::now(), Side::Server),
        Err(Untrusted::Misnamed)
    );
}
