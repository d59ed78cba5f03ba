use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A name server on loopback that knows these records, and counts what it is asked for services.
struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl NameServer {
    async fn new(records: Vec<Record>) -> NameServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (mut tasks, counter) = (JoinSet::new(), Arc::clone(&asked));
        tasks.spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = answer(&Message::from_vec(&buffer[..length]).unwrap(), &records, &counter);
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        NameServer {
            address,
            asked,
            _tasks: tasks,
        }
    }

    fn settings(&self) -> settings::Discovery {
        settings::Discovery {
            srv: true,
            resolver: Some(self.address),
            ..settings::Discovery::default()
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answer(question: &Message, records: &[Record], asked: &AtomicUsize) -> Message {
    let query = question.queries[0].clone();
    if query.query_type() == RecordType::SRV {
        asked.fetch_add(1, Ordering::Relaxed);
    }
    let of_name = |record: &&Record| record.name == *query.name();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    if !records.iter().any(|record| of_name(&record)) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    let wanted = |record: &&Record| of_name(record) && record.record_type() == query.query_type();
    answer.add_answers(records.iter().filter(wanted).cloned());
    answer.add_query(query);
    answer
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn service(priority: u16, weight: u16, port: u16, target: &str, ttl: u32) -> Record {
    let service = SRV::new(priority, weight, port, name(target));
    Record::from_rdata(name("_irsp._tcp.b.example."), ttl, RData::SRV(service))
}

fn host(text: &str, ip: [u8; 4]) -> Record {
    Record::from_rdata(name(text), 60, RData::A(A(Ipv4Addr::from(ip))))
}

fn b() -> Domain {
    Domain::new("b.example").unwrap()
}

fn urls(found: &[PeerUrl]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn services_come_by_priority_and_are_asked_for_again_only_after_a_failure() {
    let names = NameServer::new(vec![
        service(20, 0, 7443, "last.b.example.", 300),
        service(10, 1, 7001, "light.b.example.", 300),
        service(10, 9, 7002, "heavy.b.example.", 300),
        service(0, 0, 7443, ".", 300),
        service(0, 0, 7443, "nowhere.b.example.", 300),
        host("last.b.example.", [192, 0, 2, 3]),
        host("light.b.example.", [192, 0, 2, 2]),
        host("heavy.b.example.", [192, 0, 2, 1]),
    ])
    .await;
    let discovery = Discovery::new(&names.settings()).unwrap();
    let mut known = Known::default();
    for _ in 0..3 {
        let found = known.find(Way::Srv, &b(), &discovery).await.unwrap();
        let expected = [
            "irsp://192.0.2.1:7002",
            "irsp://192.0.2.2:7001",
            "irsp://192.0.2.3:7443",
        ];
        assert_eq!(urls(&found), expected);
    }
    assert_eq!(names.asked(), 1, "an answer is kept for its lifetime");
    known.forget(Way::Srv);
    known.find(Way::Srv, &b(), &discovery).await.unwrap();
    assert_eq!(names.asked(), 2, "what led to no link is looked for anew");
}

#[tokio::test]
async fn a_domain_without_a_service_is_not_found_and_not_asked_for_all_the_time() {
    let names = NameServer::new(Vec::new()).await;
    let discovery = Discovery::new(&names.settings()).unwrap();
    let mut known = Known::default();
    for _ in 0..3 {
        let found = known.find(Way::Srv, &b(), &discovery).await;
        assert_eq!(found, Err(NotFound::NoRecord(b())));
    }
    let asked = names.asked();
    known.find(Way::Srv, &b(), &discovery).await.unwrap_err();
    assert_eq!(names.asked(), asked);
    let off = known.find(Way::WellKnown, &b(), &discovery).await;
    assert_eq!(off, Ok(Vec::new()), "this way is off");
}

/// An authority, and a web server with a certificate of it that gives the same answer to everybody.
struct WebServer {
    port: u16,
    folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl WebServer {
    async fn new(certified: &str, answer: String) -> WebServer {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority_key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        std::fs::write(folder.path().join("ca.crt"), pem).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&authority, &authority_key);
        let params = CertificateParams::new([certified.to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = params.signed_by(&key, &issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .unwrap();
        let (tls, listener) = (
            TlsAcceptor::from(Arc::new(config)),
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        );
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // Whoever refuses our certificate goes.
                let Ok(mut stream) = tls.accept(socket).await else {
                    continue;
                };
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /.well-known/irsp HTTP/1.1\r\n"));
                let _gone = stream.write_all(answer.as_bytes()).await;
                let _gone = stream.shutdown().await;
            }
        });
        WebServer {
            port,
            folder,
            _tasks: tasks,
        }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ncache-control: public, max-age=90\r\n\r\n{body}")
}

const DOCUMENT: &str = r#"{"domain":"b.example","links":["irsp://fed.b.example:7443"],"more":1}"#;

/// What is found of b.example with this web server, believing this authority.
async fn read(web: &WebServer, ca: PathBuf) -> Result<Places, NotFound> {
    let names = NameServer::new(vec![host("b.example.", [127, 0, 0, 1])]).await;
    let settings = settings::Discovery {
        srv: false,
        well_known: true,
        authorities: Some(ca),
        web_port: Some(web.port),
        ..names.settings()
    };
    Discovery::new(&settings).unwrap().ask(Way::WellKnown, &b()).await
}

fn refused(found: Result<Places, NotFound>) -> String {
    found.unwrap_err().to_string()
}

#[tokio::test]
async fn the_document_says_where_links_are_and_for_how_long() {
    let web = WebServer::new("b.example", ok(DOCUMENT)).await;
    let found = read(&web, web.ca()).await.unwrap();
    assert_eq!(urls(&found.urls), ["irsp://fed.b.example:7443"]);
    assert_eq!(found.lifetime, Duration::from_secs(90));
}

#[tokio::test]
async fn a_web_server_is_believed_by_its_certificate_alone() {
    let (web, other) = (
        WebServer::new("b.example", ok(DOCUMENT)).await,
        WebServer::new("c.example", ok(DOCUMENT)).await,
    );
    let foreign = refused(read(&web, other.ca()).await);
    assert!(foreign.contains("invalid peer certificate"), "{foreign}");
    let misnamed = refused(read(&other, other.ca()).await);
    assert!(misnamed.contains("not valid for name"), "{misnamed}");
}

#[tokio::test]
async fn a_document_of_another_domain_too_long_moved_or_broken_is_none() {
    let long = format!(
        r#"{{"domain":"b.example","links":[],"x":"{}"}}"#,
        "x".repeat(20_000)
    );
    for (answer, reason) in [
        (
            ok(&DOCUMENT.replace("b.example", "c.example")),
            "is about c.example",
        ),
        (ok(&long), "longer than"),
        (ok("<html>"), "not understood"),
        (
            ok(r#"{"domain":"b.example","links":["https://b.example"]}"#),
            "irsp://host:port",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "302",
        ),
        (String::new(), "https://b.example/.well-known/irsp"),
    ] {
        let web = WebServer::new("b.example", answer).await;
        let found = refused(read(&web, web.ca()).await);
        assert!(found.contains(reason), "{reason}: {found}");
    }
}
