//! N2: a destination or a broker whose TLS is not right gets no payload, the reason is in `wardline status`, it is not
//! asked without end, and when it is right again everything goes out without a restart.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wardline::lab::endpoint::{Endpoint, Settings};

use super::support::broker::{Broker, Door};
use super::support::certificates::{ALWAYS, Authority, Identity, authority, put, revoked};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::obligations::Book;
use super::support::scripted::{Reply, Scripted};
use super::support::toxic::Toxic;
use super::{PATIENCE, all_is_well, port_of, settings, until_within, why};

/// A server that should get nothing: its port, and what it got.
struct Impostor {
    port: u16,
    payload: Box<dyn Fn() -> usize + Send>,
}

async fn impostor(config: Option<Arc<rustls::ServerConfig>>) -> Impostor {
    let server = Scripted::serve(config.map(|c| (c, "127.0.0.1")), |_| Reply::status(200)).await;
    let port = port_of(&server.url);
    Impostor { port, payload: Box::new(move || server.requests().len()) }
}

/// Answers every hello with TLS 1.1, whatever was asked for, and counts application data.
async fn of_yesterday() -> Impostor {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let payload = Arc::new(AtomicUsize::new(0));
    let seen = payload.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = [0; 4_096];
            let _ = socket.read(&mut buffer).await;
            // A ServerHello: version 3.2, a random of zeros, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
            let hello = [&[2, 0, 0, 38, 3, 2][..], &[0; 32], &[0, 0, 0x2F, 0]].concat();
            let _ = socket.write_all(&[&[22, 3, 2, 0, 42][..], &hello].concat()).await;
            while let Ok(n @ 1..) = socket.read(&mut buffer).await {
                seen.fetch_add(usize::from(buffer[..n].starts_with(&[23])), Ordering::SeqCst);
            }
        }
    });
    Impostor { port, payload: Box::new(move || payload.load(Ordering::SeqCst)) }
}

/// One gateway that meets this server first, and the right one afterwards.
async fn meets(what: &str, server: Impostor, code: &str, reason: &str, (ca, crl): (&Authority, &str)) {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    let tls = Settings { keep: true, tls: true, ca_file: Some(ca_file.clone()), ..Settings::default() };
    let good = Endpoint::start(tls).unwrap();
    std::fs::File::options().append(true).open(&ca_file).unwrap().write_all(ca.pem().as_bytes()).unwrap();
    put(folder.path(), "crl.pem", crl);
    let proxy = Toxic::start(server.port).await;
    let mut book = Book::new(2);
    let url = format!("https://127.0.0.1:{}/fhir", proxy.port);
    let files = format!("ca_file = \"{}\"\ncrl_file = \"{}/crl.pem\"", ca_file.display(), folder.path().display());
    let text = settings(&book, broker.port, &url, &files);
    let mut gateway = Gateway::new(&text);
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..20).await);
    until_within(PATIENCE, what, || why(&gateway, "destinations").is_some()).await;
    let said = why(&gateway, "destinations").unwrap();
    assert!(said.0 == code && said.1.contains(reason), "{what}: {said:?}");
    let (shown, ..) = gateway.cli(&["status"]);
    assert!(shown.contains(code), "{what}: {shown}");
    let before = proxy.accepted();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let tries = proxy.accepted() - before;
    assert!((1..=20).contains(&tries), "{what}: {tries} tries in four seconds");
    assert_eq!((server.payload)(), 0, "{what}");
    assert!(book.publish(&device, 20..25).await);
    proxy.aim(port_of(&good.url()));
    all_is_well(&book, &good, PATIENCE).await;
    println!("N2 {what}: {code} {}, {tries} tries in 4 s", said.1);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_whose_tls_is_wrong_gets_nothing_until_it_is_right() {
    let (ours, theirs) = (authority("Ours"), authority("Theirs"));
    let here = &["127.0.0.1"][..];
    let with = |ca, names, years| Some(Identity::new(ca, names, years).server());
    let expired = impostor(with(Some(&ours), here, (2020, 2024))).await;
    let early = impostor(with(Some(&ours), here, (2098, 2099))).await;
    let elsewhere = impostor(with(Some(&ours), &["127.0.0.2"], ALWAYS)).await;
    let unknown = impostor(with(Some(&theirs), here, ALWAYS)).await;
    let itself = impostor(with(None, here, ALWAYS)).await;
    let plain = impostor(None).await;
    let old = of_yesterday().await;
    let taken_back = Identity::new(Some(&ours), here, ALWAYS);
    let crl = revoked(&ours, &[&taken_back]);
    let taken_back = impostor(Some(taken_back.server())).await;
    let meets = |what, server, code, reason| meets(what, server, code, reason, (&ours, &crl));
    tokio::join!(
        meets("expired", expired, "WL-F003", "expired"),
        meets("not yet valid", early, "WL-F003", "not valid yet"),
        meets("wrong host", elsewhere, "WL-F003", "not valid for"),
        meets("unknown CA", unknown, "WL-F003", "UnknownIssuer"),
        meets("self-signed", itself, "WL-F003", "UnknownIssuer"),
        meets("revoked", taken_back, "WL-F003", "Revoked"),
        meets("plain HTTP", plain, "WL-F001", "breaks off at once"),
        meets("TLS 1.1", old, "WL-F001", "unsafe versions"),
    );
}

/// A gateway that trusts `ca.pem` of the folder and shows `client.pem` of it.
fn at_the_broker(folder: &Path, broker: &Broker, book: &Book, url: &str) -> Gateway {
    let at = folder.display();
    let text = settings(book, broker.port, url, "").replace("mqtt://", "mqtts://");
    let files = format!(
        "kind = \"mqtt\"\nca_file = \"{at}/ca.pem\"\ncrl_file = \"{at}/crl.pem\"\nclient_certificate_file = \"{at}/client.pem\"\n\
         client_key_file = \"{at}/client.key\"\n"
    );
    Gateway::new(&text.replace("kind = \"mqtt\"\n", &files))
}

/// A broker with this certificate first, and the right one afterwards.
async fn meets_broker(what: &str, wrong: Identity, reason: &str, ca: &Authority) {
    let folder = tempfile::tempdir().unwrap();
    let taken_back = [&wrong];
    put(folder.path(), "crl.pem", &revoked(ca, if reason == "revoked" { &taken_back } else { &[] }));
    put(folder.path(), "ca.pem", &ca.pem());
    Identity::new(Some(ca), &[], ALWAYS).put(folder.path(), "client");
    wrong.put(folder.path(), "server");
    let Some(mut broker) = Broker::start(&Door::TlsCertificate { certificates: folder.path().into() }, "") else {
        return;
    };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut book = Book::new(2);
    let mut gateway = at_the_broker(folder.path(), &broker, &book, &endpoint.url());
    // Not ready: it is not connected.
    gateway.spawn();
    until_within(PATIENCE, what, || why(&gateway, "sources").is_some()).await;
    let said = why(&gateway, "sources").unwrap();
    assert!(said.0 == "WL-S011" && said.1.contains(reason), "{what}: {said:?}");
    assert!(!broker.log().contains("as wardline-"), "{what}: {}", broker.log());
    broker.stop();
    Identity::new(Some(ca), &["127.0.0.1"], ALWAYS).put(folder.path(), "server");
    broker.restart();
    until_within(2 * PATIENCE, what, || why(&gateway, "sources").is_none()).await;
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..5).await);
    all_is_well(&book, &endpoint, PATIENCE).await;
    println!("N2 broker {what}: {} {}", said.0, said.1);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Our own certificate ends while the session lasts: the next connection is refused, until the file is renewed.
async fn our_own_certificate_ends(ca: &Authority) {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "ca.pem", &ca.pem());
    put(folder.path(), "crl.pem", &revoked(ca, &[]));
    Identity::new(Some(ca), &["127.0.0.1"], ALWAYS).put(folder.path(), "server");
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    Identity::until(Some(ca), &[], now - 60, now + 8).put(folder.path(), "client");
    let Some(mut broker) = Broker::start(&Door::TlsCertificate { certificates: folder.path().into() }, "") else {
        return;
    };
    let endpoint = Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap();
    let mut book = Book::new(2);
    let mut gateway = at_the_broker(folder.path(), &broker, &book, &endpoint.url());
    gateway.start();
    until_within(PATIENCE, "the connection", || broker.log().contains("as wardline-")).await;
    {
        let device = Device::connect(broker.device_port);
        assert!(book.publish(&device, 0..5).await);
        all_is_well(&book, &endpoint, PATIENCE).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        // It lasts as long as the connection.
        assert!(book.publish(&device, 5..10).await);
        all_is_well(&book, &endpoint, PATIENCE).await;
    }
    broker.stop();
    broker.restart();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 10..15).await);
    let refused = || why(&gateway, "sources").is_some_and(|(code, _)| code == "WL-S012");
    until_within(PATIENCE, "the refusal", refused).await;
    let said = why(&gateway, "sources").unwrap();
    Identity::new(Some(ca), &[], ALWAYS).put(folder.path(), "client");
    all_is_well(&book, &endpoint, 2 * PATIENCE).await;
    println!("N2 our certificate ends: {} {}", said.0, said.1);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_tls_is_wrong_gets_nothing_until_it_is_right() {
    let (ours, theirs) = (authority("Ours"), authority("Theirs"));
    let here = &["127.0.0.1"][..];
    tokio::join!(
        meets_broker("expired", Identity::new(Some(&ours), here, (2020, 2024)), "expired", &ours),
        meets_broker("not yet valid", Identity::new(Some(&ours), here, (2098, 2099)), "not valid yet", &ours),
        meets_broker("wrong host", Identity::new(Some(&ours), &["localhost"], ALWAYS), "another host name", &ours),
        meets_broker("unknown CA", Identity::new(Some(&theirs), here, ALWAYS), "nobody we trust", &ours),
        meets_broker("self-signed", Identity::new(None, here, ALWAYS), "nobody we trust", &ours),
        meets_broker("revoked", Identity::new(Some(&ours), here, ALWAYS), "revoked", &ours),
        our_own_certificate_ends(&ours),
    );
}
