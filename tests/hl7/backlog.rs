//! A backlog in batches through the built binary: to receivers that others wrote, and over links that break.

use std::collections::{BTreeMap, BTreeSet};

use super::support::broker::{Broker, Door};
use super::support::device::Device;
use super::support::gateway::Gateway;
use super::support::hl7_peer::{Kind, Peer};
use super::support::mllp::{Receiver, Reply, field, messages_in};
use super::{destination, publish, published, received, settings, until, waiting};

/// One that answers with a batch, one that answers for each message, one that takes no batches: the same numbers at each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_in_batches_is_whole_at_receivers_that_others_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let kinds = [Kind::Hl7, Kind::Node, Kind::Strict];
    let started: Option<Vec<Peer>> = kinds.iter().map(|kind| Peer::start(*kind, folder.path())).collect();
    let Some(mut peers) = started else { return };
    // An outage, from before the first reading on.
    peers.iter_mut().for_each(Peer::kill);
    let destinations: String = [
        destination("plain", "mllp", "127.0.0.1", peers[0].port, "batch = 30"),
        destination("node", "mllp", "127.0.0.1", peers[1].port, "batch = 30\nkeep_connection = false"),
        destination("strict", "mllp", "127.0.0.1", peers[2].port, "batch = 30"),
    ]
    .concat();
    let mut gateway = Gateway::new(&settings(&broker, &destinations));
    gateway.start();
    let device = Device::connect(broker.device_port);
    publish(&device, 0..200).await;
    until("the backlog", || waiting(&gateway) == 600).await;
    peers.iter_mut().for_each(Peer::revive);
    until("delivery of everything", || waiting(&gateway) == 0).await;
    let expected = published(0..200);
    for (peer, kind) in peers.iter().zip(kinds) {
        // What hl7apy made of a batch has no id.
        let (got, unread): (Vec<_>, Vec<_>) = peer.got().into_iter().partition(|m| m["id"].is_string());
        let (facts, again) = received(&got);
        assert!(facts == expected && again == 0, "{kind:?}: {} of {}, {again} again", facts.len(), expected.len());
        let together = got.iter().filter_map(|m| m["batch"].as_u64()).max();
        match kind {
            Kind::Strict => assert!(together.is_none() && unread.len() == 3, "{unread:?}"),
            _ => assert!(together == Some(30) && unread.is_empty(), "{kind:?}: {together:?}"),
        }
    }
    let log = gateway.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("WL-H006")).collect();
    assert!(matches!(said[..], [one] if one.contains("strict")), "said once, of the one that it is of: {said:?}");
    assert_eq!(gateway.json(&["outbox"]).as_array().unwrap().iter().filter(|d| d["rejected"] != 0).count(), 0);
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}

/// Kills of the gateway and links that break before, within and after the answers: nothing is missing, and what comes
/// again is the same message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_in_mid_batch_loses_nothing_and_changes_no_message() {
    let Some(broker) = Broker::start(&Door::Open, "") else { return };
    let receiver = Receiver::start(|frame, n| {
        let ids = messages_in(frame).into_iter().map(|m| field(&m, "MSH", 10));
        let mut answers: Vec<Reply> = ids.map(|id| Reply::AckFor("AA", id)).collect();
        match n % 6 {
            1 => return Reply::Close,
            3 => answers.truncate(answers.len() / 2),
            _ => {}
        }
        if n % 6 == 3 {
            answers.push(Reply::Close);
        }
        Reply::After(std::time::Duration::from_millis(10), Box::new(Reply::All(answers)))
    })
    .await;
    let lab = destination("lab", "mllp", "127.0.0.1", receiver.port, "batch = 20");
    let mut gateway = Gateway::new(&settings(&broker, &lab));
    gateway.start();
    let device = Device::connect(broker.device_port);
    let count = || receiver.messages().iter().map(|f| messages_in(f).len()).sum::<usize>();
    for round in 0..5u64 {
        publish(&device, round * 60..(round + 1) * 60).await;
        let before = count();
        until("a part", || count() > before + 10).await;
        gateway.kill();
        gateway.start();
    }
    until("everything", || waiting(&gateway) == 0 && gateway.json(&["outbox"])[0]["rejected"] == 0).await;
    let frames = receiver.messages();
    assert!(frames.iter().any(|f| f.starts_with("BHS")), "there were batches");
    // A later sending has a later MSH-7, and nothing else is another.
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in frames.iter().flat_map(|f| messages_in(f)) {
        let written = field(&message, "MSH", 7);
        known.entry(field(&message, "MSH", 10)).or_default().insert(message.replacen(&written, "", 1));
    }
    assert_eq!(known.len(), 300);
    assert!(known.values().all(|forms| forms.len() == 1), "one control id is one message");
    assert_eq!(gateway.json(&["custody", "verify"])["intact"], true);
    assert_eq!(gateway.stop(), Some(0), "{}", gateway.log());
}
