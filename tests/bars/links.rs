//! N3: links that say nothing, trickle, break, are forgotten or lead to the wrong place. Each is found out within a
//! minute and said, the process does not spin meanwhile, and in the end everything is there once.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use wardline::lab::endpoint::{Endpoint, Settings};

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::obligations::Book;
use super::support::scripted::{Reply, Scripted};
use super::support::skipped;
use super::support::toxic::{Luck, Toxic};
use super::{PATIENCE, all_is_well, port_of, settings, until_within, why};

/// What the bar asks for; the rest of it is the machine's.
const FOUND_OUT: Duration = Duration::from_secs(60);
const SLACK: Duration = Duration::from_secs(15);

fn keeping() -> Endpoint {
    Endpoint::start(Settings { keep: true, ..Settings::default() }).unwrap()
}

/// The share of a core that the gateway takes for a while.
async fn busy(gateway: &Gateway, period: Duration) -> f64 {
    let (before, since) = (gateway.cpu(), Instant::now());
    tokio::time::sleep(period).await;
    (gateway.cpu() - before).as_secs_f64() / since.elapsed().as_secs_f64()
}

/// Until the trouble is said; how long it took and with which code.
async fn found_out(what: &str, gateway: &Gateway, links: &str) -> (Duration, String) {
    let since = Instant::now();
    until_within(FOUND_OUT + SLACK, what, || why(gateway, links).is_some()).await;
    (since.elapsed(), why(gateway, links).unwrap().0)
}

/// What a link is like, and when it is better.
struct Way {
    what: &'static str,
    luck: Luck,
    /// Whether readings come through before the luck is better.
    passes: bool,
    /// The codes that may be said.
    codes: &'static [&'static str],
}

/// A gateway whose way to the destination is bad.
async fn to_the_destination(way: Way) {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let Way { what, luck, passes, codes } = way;
    let endpoint = keeping();
    let proxy = Toxic::start(port_of(&endpoint.url())).await;
    let mut book = Book::new(2);
    let text = settings(&book, broker.port, &format!("http://127.0.0.1:{}/fhir", proxy.port), "");
    let mut gateway = Gateway::new(&text);
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..20).await);
    all_is_well(&book, &endpoint, PATIENCE).await;
    proxy.order(luck);
    match luck {
        Luck::Forgets(after) => tokio::time::sleep(2 * after).await,
        // Luck of new connections.
        Luck::Lossy(_) => proxy.cut(),
        _ => {}
    }
    assert!(book.publish(&device, 20..40).await);
    let mut said = (Duration::ZERO, String::from("nothing"));
    if !codes.is_empty() {
        said = found_out(what, &gateway, "destinations").await;
        assert!(codes.contains(&&*said.1), "{what}: {said:?}");
    }
    let share = busy(&gateway, Duration::from_secs(4)).await;
    assert!(share < 0.25, "{what}: {share}");
    for n in 40..60 {
        assert!(book.publish(&device, n..n + 1).await);
    }
    if !passes {
        proxy.order(Luck::Good);
    }
    all_is_well(&book, &endpoint, 2 * PATIENCE).await;
    let (after, code) = (said.0.as_secs_f64(), said.1);
    println!(
        "N3 destination, {what}: {code} after {after:.1} s, {:.1} % of a core, {} connections",
        100.0 * share,
        proxy.accepted()
    );
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_way_to_the_destination_is_found_out_and_loses_nothing() {
    let way = |what, luck, passes, codes| to_the_destination(Way { what, luck, passes, codes });
    let no_answer = &["WL-F002"];
    let broken = &["WL-F001", "WL-F002"];
    tokio::join!(
        way("half open", Luck::Silent, false, no_answer),
        way("1 B/s", Luck::Trickle(1), false, no_answer),
        way("reset", Luck::Reset, false, broken),
        way("cut in a request", Luck::CutRequest(700), false, broken),
        way("cut in an answer", Luck::CutAnswer(60), false, broken),
        way("90 % of connections cut", Luck::Lossy(0.9), true, &[]),
        way("forgotten by a NAT", Luck::Forgets(Duration::from_secs(2)), true, no_answer),
        portal("a captive portal", Reply::Answer(200, vec![], "<html>Log in</html>".into()), "WL-F010"),
        portal("a portal that redirects", redirect("http://127.0.0.1:1/login"), "WL-F008"),
        another_protocol(),
    );
}

fn redirect(to: &str) -> Reply {
    Reply::Answer(302, vec![("location", to.into())], String::new())
}

/// A network that answers itself before it lets anybody through.
async fn portal(what: &str, answer: Reply, code: &str) {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let login = Scripted::start(move |_| answer.clone()).await;
    let endpoint = keeping();
    let proxy = Toxic::start(port_of(&login.url)).await;
    let mut book = Book::new(2);
    let text = settings(&book, broker.port, &format!("http://127.0.0.1:{}/fhir", proxy.port), "");
    let mut gateway = Gateway::new(&text);
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..20).await);
    let said = found_out(what, &gateway, "destinations").await;
    assert_eq!(said.1, code, "{what}");
    let share = busy(&gateway, Duration::from_secs(4)).await;
    assert!(share < 0.25, "{what}: {share}");
    proxy.aim(port_of(&endpoint.url()));
    // Its connections end with it.
    proxy.cut();
    all_is_well(&book, &endpoint, PATIENCE).await;
    assert_eq!(gateway.json(&["outbox"])[0]["rejected"], 0, "{what}");
    println!("N3 destination, {what}: {code} after {:.1} s, {:.1} % of a core", said.0.as_secs_f64(), 100.0 * share);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A destination that has an IPv6 address only.
async fn another_protocol() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = keeping();
    let Ok(proxy) = Toxic::listen(Ipv6Addr::LOCALHOST.into(), port_of(&endpoint.url())).await else {
        return skipped("this machine has no IPv6");
    };
    let mut book = Book::new(2);
    let text = settings(&book, broker.port, &format!("http://[::1]:{}/fhir", proxy.port), "");
    let mut gateway = Gateway::new(&text);
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..20).await);
    all_is_well(&book, &endpoint, PATIENCE).await;
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// A gateway whose way to the broker is bad.
async fn to_the_broker(what: &str, luck: Luck) {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = keeping();
    let proxy = Toxic::start(broker.port).await;
    let mut book = Book::new(2);
    let mut gateway = Gateway::new(&settings(&book, proxy.port, &endpoint.url(), ""));
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..20).await);
    all_is_well(&book, &endpoint, PATIENCE).await;
    proxy.order(luck);
    match luck {
        Luck::Forgets(after) => tokio::time::sleep(2 * after).await,
        // Luck of new connections, and one may live: then nothing is to be said.
        Luck::Lossy(_) => proxy.cut(),
        _ => {}
    }
    assert!(book.publish(&device, 20..40).await);
    let mut said = (Duration::ZERO, String::from("nothing"));
    if !matches!(luck, Luck::Lossy(_)) {
        said = found_out(what, &gateway, "sources").await;
        assert!(["WL-S010", "WL-S018", "WL-S019"].contains(&&*said.1), "{what}: {said:?}");
    }
    let share = busy(&gateway, Duration::from_secs(4)).await;
    assert!(share < 0.25, "{what}: {share}");
    assert!(book.publish(&device, 40..60).await);
    if !matches!(luck, Luck::Forgets(_)) {
        proxy.order(Luck::Good);
    }
    all_is_well(&book, &endpoint, 3 * PATIENCE).await;
    let (after, code) = (said.0.as_secs_f64(), said.1);
    println!("N3 broker, {what}: {code} after {after:.1} s, {:.1} % of a core", 100.0 * share);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_way_to_the_broker_is_found_out_and_loses_nothing() {
    tokio::join!(
        to_the_broker("half open", Luck::Silent),
        to_the_broker("1 B/s", Luck::Trickle(1)),
        to_the_broker("reset", Luck::Reset),
        to_the_broker("cut in a publish", Luck::CutAnswer(400)),
        to_the_broker("90 % of connections cut", Luck::Lossy(0.9)),
        to_the_broker("forgotten by a NAT", Luck::Forgets(Duration::from_secs(2))),
    );
}

/// The test of the test: a process that spins is seen to.
#[tokio::test]
async fn a_process_that_spins_is_seen() {
    let mut spinning = Gateway::new("");
    spinning.under = ["sh", "-c", "while :; do :; done"].map(Into::into).to_vec();
    spinning.spawn();
    let share = busy(&spinning, Duration::from_secs(2)).await;
    assert!(share > 0.1, "{share}");
}

/// Names that are not found, then lie, then are right: for the destination and the broker, without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_not_found_or_lie_are_said_and_then_asked_again() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let endpoint = keeping();
    let mut book = Book::new(2);
    // Names of the loopback network, or the gateway would refuse to speak in clear.
    let url = format!("http://localhost:{}/fhir", port_of(&endpoint.url()));
    let mut gateway = Gateway::new(&settings(&book, broker.port, &url, ""));
    let hosts = gateway.path("hosts");
    let resolve = |text: &str| std::fs::write(&hosts, text).unwrap();
    resolve("");
    // A sight of the file system of its own, with another /etc/hosts.
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    gateway.under = ["unshare", "-m", "sh", "-c", script, hosts.to_str().unwrap()].map(Into::into).to_vec();
    let tried = std::process::Command::new("unshare").args(["-m", "sh", "-c", script]).arg(&hosts).arg("true").output();
    if !tried.is_ok_and(|o| o.status.success()) {
        return skipped("no mount namespace can be made here: needs root");
    }
    gateway.start();
    let device = Device::connect(broker.device_port);
    assert!(book.publish(&device, 0..20).await);
    let said = found_out("a name that is not found", &gateway, "destinations").await;
    assert_eq!(said.1, "WL-F001", "{}", gateway.log());
    let text = why(&gateway, "destinations").unwrap().1;
    let share = busy(&gateway, Duration::from_secs(4)).await;
    assert!(share < 0.25, "{share}");
    resolve("127.0.0.99 localhost\n");
    assert!(book.publish(&device, 20..30).await);
    let lies = || why(&gateway, "destinations").is_some_and(|(_, text)| text.contains("refused"));
    until_within(PATIENCE, "the refusal at the wrong address", lies).await;
    resolve("127.0.0.1 localhost\n");
    all_is_well(&book, &endpoint, PATIENCE).await;
    println!("N3 a name: {text} after {:.1} s, {:.1} % of a core", said.0.as_secs_f64(), 100.0 * share);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());

    let config = std::fs::read_to_string(gateway.path("wardline.toml")).unwrap();
    let config = config.replace("mqtt://127.0.0.1", "mqtt://localhost");
    std::fs::write(gateway.path("wardline.toml"), config).unwrap();
    resolve("");
    gateway.spawn();
    let said = found_out("the broker's name", &gateway, "sources").await;
    assert_eq!(said.1, "WL-S010", "{}", gateway.log());
    println!("N3 the broker's name: {}", why(&gateway, "sources").unwrap().1);
    assert!(book.publish(&device, 30..40).await);
    resolve("127.0.0.1 localhost\n");
    all_is_well(&book, &endpoint, 2 * PATIENCE).await;
}
