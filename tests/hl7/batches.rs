//! Batches to a receiver of HL7 v2: what they hold, what each form of answer means, and what becomes of them where they are
//! not taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wardline::custody::{Item, Outcome};
use wardline::sink::{Destination, Sink};

use super::support::mllp::{Receiver, Reply, acknowledgement, answering_batch, field, messages_in};
use super::support::readings::{alert, alert_item, heart_rates, item, reading};
use super::support::toxic::{Luck, Toxic};
use super::{class, classes, tried, with};

fn batching(receiver: &Receiver, more: &str) -> Sink {
    with(&format!("mllp://127.0.0.1:{}", receiver.port), more)
}

fn is_batch(frame: &str) -> bool {
    frame.starts_with("BHS")
}

fn ids(frame: &str) -> Vec<String> {
    messages_in(frame).iter().map(|m| field(m, "MSH", 10)).collect()
}

fn words(outcomes: &[Outcome]) -> Vec<String> {
    let word = |(code, word): (String, &str)| format!("{word} {code}").trim().to_owned();
    outcomes.iter().map(class).map(word).collect()
}

/// Each of a frame's messages with this code, a frame for each.
fn each(frame: &str, code: &'static str) -> Reply {
    Reply::All(ids(frame).into_iter().map(|id| Reply::AckFor(code, id)).collect())
}

#[tokio::test]
async fn a_backlog_travels_in_batches_and_each_message_is_what_it_is_alone() {
    let receiver = Receiver::start(|frame, _| each(frame, "AA")).await;
    let items = heart_rates(0..7);
    let alone = batching(&receiver, "").deliver(&items, &[]).await;
    let singles = receiver.messages();
    let sink = batching(&receiver, "batch = 3");
    let together = sink.deliver(&items, &[]).await;
    assert_eq!(together, alone, "and so are their receipts");
    let frames = receiver.messages().split_off(7);
    assert_eq!(frames.iter().map(|f| ids(f).len()).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(
        frames.iter().map(|f| is_batch(f)).collect::<Vec<_>>(),
        [true, true, false],
        "one that waits needs none"
    );
    assert_eq!(frames.iter().flat_map(|f| messages_in(f)).collect::<Vec<_>>(), singles);
    let batch_ids: BTreeSet<String> = frames[..2].iter().map(|f| field(f, "BHS", 11)).collect();
    assert!(batch_ids.len() == 2 && batch_ids.iter().all(|id| id.len() == 20), "{batch_ids:?}");
    assert!(frames[..2].iter().all(|f| f.ends_with("\rBTS|3\r") && field(f, "BHS", 12).is_empty()));
    assert_eq!(receiver.connections(), 2, "one for each of the two senders");
    // Sent again, it is the same batch.
    sink.deliver(&items[..3], &[]).await;
    assert_eq!(field(receiver.messages().last().unwrap(), "BHS", 11), field(&frames[0], "BHS", 11));
    // A fresh reading by itself is a message by itself, and so is an alert.
    sink.deliver(&items[..1], &[]).await;
    let alarm = alert_item(alert("a1", "raised", &[]), 0);
    batching(&receiver, "batch = 3\nalerts = true").deliver(&[alarm.clone(), alarm], &[]).await;
    assert!(receiver.messages().split_off(11).iter().all(|f| !is_batch(f)));
}

/// What a receiver answers to a batch, what comes of it, and how many single messages follow.
type Case = (&'static str, fn(&str, &[String]) -> Reply, fn(&str) -> &'static str, [&'static str; 3], usize);

fn good(_: &str) -> &'static str {
    "AA"
}

/// The second reading is wrong.
fn one_wrong(message: &str) -> &'static str {
    if message.contains("|61|") { "AE" } else { "AA" }
}

/// The third one is.
fn last_wrong(message: &str) -> &'static str {
    if message.contains("|62|") { "AE" } else { "AA" }
}

fn cases() -> Vec<Case> {
    let [d, wrong, later, lost] = ["delivered", "reject WL-H001", "item WL-H002", "destination WL-F002"];
    let refused = "destination WL-H002";
    vec![
        (
            "a batch of acknowledgements",
            |b, ids| Reply::Raw(answering_batch(b, &[("AA", &ids[0]), ("AE", &ids[1]), ("AR", &ids[2])], 3)),
            one_wrong,
            [d, wrong, later],
            1,
        ),
        (
            "the same in two frames, in another order",
            |b, ids| {
                let first = answering_batch(b, &[("AA", &ids[2]), ("CE", &ids[1])], 2);
                Reply::All(vec![Reply::Raw(first), Reply::AckFor("AA", ids[0].clone())])
            },
            one_wrong,
            [d, wrong, d],
            1,
        ),
        ("one for the batch", |b, _| Reply::AckFor("AA", b.into()), good, [d, d, d], 0),
        ("one on commit for the batch", |b, _| Reply::AckFor("CA", b.into()), good, [d, d, d], 0),
        ("one for the batch, in a batch", |b, _| Reply::Raw(answering_batch(b, &[("AA", b)], 1)), good, [d, d, d], 0),
        ("an error in the batch", |b, _| Reply::AckFor("AE", b.into()), one_wrong, [d, wrong, d], 3),
        ("the batch refused", |b, _| Reply::AckFor("AR", b.into()), good, [d, d, d], 3),
        ("a receiver that is down", |b, _| Reply::AckFor("AR", b.into()), |_| "AR", [later, later, refused], 3),
        (
            "one for each",
            |_, ids| Reply::All(ids.iter().zip(["AA", "AR", "AE"]).map(|(i, c)| Reply::AckFor(c, i.clone())).collect()),
            last_wrong,
            [d, later, wrong],
            1,
        ),
        (
            "the last one wrong for the trailer behind it",
            |_, ids| Reply::All(ids.iter().zip(["AA", "AA", "AE"]).map(|(i, c)| Reply::AckFor(c, i.clone())).collect()),
            good,
            [d, d, d],
            1,
        ),
        (
            "one for each, others among them, each twice",
            |_, ids| {
                let twice = ids.iter().flat_map(|id| [("AE", "FOREIGN"), ("AA", id), ("AE", id)]);
                Reply::All(twice.map(|(code, id)| Reply::AckFor(code, id.into())).collect())
            },
            good,
            [d, d, d],
            0,
        ),
        ("refusals only", |b, ids| Reply::Raw(answering_batch(b, &[("AE", &ids[1])], 1)), one_wrong, [d, wrong, d], 3),
        ("no refusal", |b, _| Reply::Raw(answering_batch(b, &[], 0)), good, [d, d, d], 0),
        ("refusals, cut short", |b, ids| Reply::Raw(answering_batch(b, &[("AE", &ids[1])], 2)), good, [d, d, d], 3),
        ("no refusal of another batch", |_, _| Reply::Raw(answering_batch("X", &[], 0)), good, [lost, lost, lost], 0),
        (
            "two of three",
            |_, ids| Reply::All(ids[..2].iter().map(|id| Reply::AckFor("AA", id.clone())).collect()),
            good,
            [d, d, lost],
            0,
        ),
        (
            "two of three, and the link breaks",
            |_, ids| {
                let some = ids[1..].iter().map(|id| Reply::AckFor("AA", id.clone()));
                Reply::All(some.chain([Reply::Close]).collect())
            },
            good,
            [lost, d, d],
            0,
        ),
        (
            "two of three in a batch",
            |b, i| Reply::Raw(answering_batch(b, &[("AA", &i[0]), ("AA", &i[2])], 2)),
            good,
            [d, lost, d],
            0,
        ),
        ("silence", |_, _| Reply::Silence, good, [lost, lost, lost], 0),
        ("the link breaks", |_, _| Reply::Close, good, [lost, lost, lost], 0),
        ("half of one", |_, _| Reply::Half, good, [lost, lost, lost], 0),
        (
            "too late",
            |b, _| Reply::After(Duration::from_secs(3), Box::new(Reply::AckFor("AA", b.into()))),
            good,
            [lost, lost, lost],
            0,
        ),
        ("the first refused, as if it were alone", |_, ids| Reply::AckFor("AR", ids[0].clone()), good, [d, d, d], 3),
        (
            "the first taken, as if it were alone",
            |_, ids| Reply::AckFor("AA", ids[0].clone()),
            good,
            [d, lost, lost],
            0,
        ),
        ("no acknowledgement", |_, _| Reply::Raw(b"\x0bnoise\x1c\x0d".to_vec()), one_wrong, [d, wrong, d], 3),
        ("of no message", |_, _| Reply::AckFor("AR", String::new()), good, [d, d, d], 3),
        ("without an end", |_, _| Reply::Endless, good, [d, d, d], 3),
    ]
}

#[tokio::test]
async fn every_answer_to_a_batch_has_its_class() {
    let all = cases().into_iter().map(|(what, answer, alone, expected, singles)| async move {
        let again = Arc::new(AtomicBool::new(false));
        let good = again.clone();
        let receiver = Receiver::start(move |frame, _| match is_batch(frame) {
            _ if good.load(Ordering::SeqCst) => each(frame, "AA"),
            true => answer(&field(frame, "BHS", 11), &ids(frame)),
            false => Reply::Ack(alone(frame)),
        })
        .await;
        let sink = batching(&receiver, "batch = 50");
        let items = heart_rates(0..3);
        let outcomes = sink.deliver(&items, &[]).await;
        assert_eq!(words(&outcomes), expected, "{what}");
        let frames = receiver.messages();
        assert_eq!(frames.iter().filter(|f| !is_batch(f)).count(), singles, "{what}: {frames:?}");
        // What was not settled comes again as what it was, and is taken.
        again.store(true, Ordering::SeqCst);
        let known: BTreeMap<_, _> =
            frames.iter().flat_map(|f| messages_in(f)).map(|m| (field(&m, "MSH", 10), m)).collect();
        let open = items.iter().zip(&outcomes).filter(|(_, o)| matches!(o, Outcome::Retry { .. }));
        let open: Vec<Item> = open.map(|(item, _)| item.clone()).collect();
        let taken = sink.deliver(&open, &[]).await;
        assert!(taken.iter().all(|o| matches!(o, Outcome::Delivered(_))), "{what}: {taken:?}");
        for message in receiver.messages().iter().flat_map(|f| messages_in(f)) {
            assert_eq!(known.get(&field(&message, "MSH", 10)), Some(&message), "{what}");
        }
        let receipts = outcomes.iter().chain(&taken).filter_map(|o| match o {
            Outcome::Delivered(receipt) => Some(receipt.location.split(' ').next().unwrap().to_owned()),
            _ => None,
        });
        assert!(
            receipts.collect::<Vec<_>>().iter().all(|id| known.contains_key(id)),
            "{what}: a receipt names its message"
        );
    });
    futures_util::future::join_all(all).await;
}

/// Of fifty, some are refused: that is no receiver that is down.
#[tokio::test]
async fn what_is_refused_among_others_is_each_readings_own_matter() {
    let receiver = Receiver::start(|frame, _| {
        let code = |m: &String| if m.contains("|1.0.0.1|6") { "AR" } else { "AA" };
        let acks = messages_in(frame).into_iter().map(|m| Reply::AckFor(code(&m), field(&m, "MSH", 10)));
        Reply::All(acks.collect())
    })
    .await;
    let sink = batching(&receiver, "batch = 50");
    let outcomes = sink.deliver(&tried(heart_rates(0..30), 3), &[]).await;
    let count = |word: &str| words(&outcomes).iter().filter(|w| *w == word).count();
    assert_eq!((count("item WL-H002"), count("delivered")), (10, 20), "{:?}", words(&outcomes));
    let outcomes = sink.deliver(&tried(heart_rates(0..30), 8), &[]).await;
    assert_eq!(words(&outcomes).iter().filter(|w| *w == "reject WL-H002").count(), 10, "and it ends with a person");
    assert_eq!(receiver.messages().len(), 2);
}

/// What cannot be written, or may not go, is left out; the others' batch has all the same.
#[tokio::test]
async fn what_cannot_go_is_left_out_of_the_batch() {
    struct NotTheThird;
    impl wardline::sink::Gate for NotTheThird {
        fn admit(&self, item: &Item) -> Option<Item> {
            (item.id != wardline::custody::ItemId::Reading(3)).then(|| item.clone())
        }
        fn permits(&self, _: &wardline::reading::Reading) -> bool {
            true
        }
    }
    let receiver = Receiver::start(|frame, _| each(frame, "AA")).await;
    let mut items = heart_rates(0..6);
    let value = |n: u32, unit: &str| serde_json::json!([{"role": "value", "value": {"number": n}, "unit": unit}]);
    items[1] = item(reading(1, "Patient/p1", "impedance", &value(500, "Ohm")));
    items[4] = item(reading(4, "Patient/p2", "heart-rate", &value(75, "/min")));
    for (more, sent) in [("batch = 50", 4), ("batch = 50\nreadings_per_message = 9", 4)] {
        let mut sink = batching(&receiver, more);
        sink.gated(Arc::new(NotTheThird));
        let before = receiver.messages().len();
        let expected = ["delivered", "reject WL-H004", "delivered", "withheld", "delivered", "delivered"];
        assert_eq!(words(&sink.deliver(&items, &[]).await), expected, "{more}");
        let frames = receiver.messages().split_off(before);
        let orders: usize = frames.iter().map(|f| f.matches("\rOBR|").count()).sum();
        assert_eq!((orders, is_batch(&frames[0])), (sent, true), "{more}: {frames:?}");
    }
    // Who cannot be named waits, and holds nobody.
    let mut sink = batching(&receiver, "batch = 50\nfields = [\"sex\"]");
    sink.asks(Arc::new(|patient| {
        let sex = wardline::demographics::Demographics { sex: Some("F".into()), ..Default::default() };
        (patient.reveal() == "Patient/p1").then(|| Arc::new(sex))
    }));
    let outcomes = words(&sink.deliver(&items, &[]).await);
    assert_eq!(outcomes[3..], ["delivered", "item WL-H005", "delivered"]);
}

#[tokio::test]
async fn a_batch_is_bounded_in_octets() {
    let receiver = Receiver::start(|frame, _| each(frame, "AA")).await;
    let sink = batching(&receiver, "batch = 200\nreadings_per_message = 100");
    let outcomes = sink.deliver(&heart_rates(0..2_500), &[]).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered(_))) && outcomes.len() == 2_500);
    let frames = receiver.messages();
    let orders: usize = frames.iter().map(|f| f.matches("\rOBR|").count()).sum();
    assert!(orders == 2_500 && frames.len() >= 2 && frames.iter().all(|f| f.len() < 1_100_000), "{}", frames.len());
}

/// How receivers without batches behave: found out by itself, and then left alone with them.
#[tokio::test]
async fn a_receiver_that_takes_no_batches_gets_single_messages() {
    type Answer = fn(&str) -> Reply;
    let manners: [(&str, Answer, usize); 6] = [
        ("refuses them by their own number", |frame| Reply::AckFor("AR", field(frame, "BHS", 11)), 3),
        ("refuses the first", |frame| Reply::AckFor("AE", ids(frame)[0].clone()), 1),
        ("takes the first", |frame| Reply::AckFor("AA", ids(frame)[0].clone()), 1),
        ("takes the last", |frame| Reply::AckFor("AA", ids(frame).pop().unwrap()), 1),
        ("names nothing, and closes", |_| Reply::All(vec![Reply::AckFor("AR", String::new()), Reply::Close]), 3),
        // On a connection that was kept, it is tried once more on a new one.
        ("closes", |_| Reply::Close, 5),
    ];
    let all = manners.into_iter().map(|(what, answer, tries)| async move {
        let receiver =
            Receiver::start(move |frame, _| if is_batch(frame) { answer(frame) } else { Reply::Ack("AA") }).await;
        let sink = batching(&receiver, "batch = 20");
        assert_eq!(sink.batch_max(), 20);
        let mut open = heart_rates(0..60);
        let mut turns = 0;
        while !open.is_empty() {
            turns += 1;
            assert!(turns < 20, "{what}");
            let some: Vec<Item> = open.iter().take(20).cloned().collect();
            let outcomes = sink.deliver(&some, &[]).await;
            let done: Vec<_> = some.iter().zip(&outcomes).filter(|(_, o)| matches!(o, Outcome::Delivered(_))).collect();
            open.retain(|item| !done.iter().any(|(d, _)| d.id == item.id));
            // As the loop does that asks with one item whether a destination is back.
            if outcomes.iter().any(|o| !matches!(o, Outcome::Delivered(_)))
                && let Some(one) = open.first().cloned()
            {
                assert_eq!(words(&sink.deliver(&[one], &[]).await), ["delivered"], "{what}");
                open.remove(0);
            }
        }
        let frames = receiver.messages();
        assert_eq!(frames.iter().filter(|f| is_batch(f)).count(), tries, "{what}");
        let all: BTreeSet<String> = frames.iter().filter(|f| !is_batch(f)).flat_map(|f| ids(f)).collect();
        assert!(all.len() >= 58, "{what}: {}", all.len());
        assert_eq!(sink.batch_max(), 10, "{what}: as many are under way as without batches");
    });
    futures_util::future::join_all(all).await;
}

/// A link that breaks now and then is no reason to give batches up, and neither is one wrong reading in each.
#[tokio::test]
async fn a_bad_link_or_a_wrong_reading_is_no_receiver_without_batches() {
    let receiver = Receiver::start(|frame, n| match is_batch(frame) {
        true if n % 3 < 2 => Reply::Close,
        true => Reply::AckFor("AA", field(frame, "BHS", 11)),
        false => Reply::Ack("AA"),
    })
    .await;
    let sink = batching(&receiver, "batch = 20\nkeep_connection = false");
    for _ in 0..12 {
        sink.deliver(&heart_rates(0..5), &[]).await;
    }
    assert_eq!(receiver.messages().iter().filter(|f| is_batch(f)).count(), 12);
    let wrong = Receiver::start(|frame, _| match is_batch(frame) {
        true => Reply::AckFor("AE", field(frame, "BHS", 11)),
        false => Reply::Ack(one_wrong(frame)),
    })
    .await;
    let sink = batching(&wrong, "batch = 20");
    for _ in 0..6 {
        let expected = ["delivered", "reject WL-H001", "delivered"];
        assert_eq!(words(&sink.deliver(&heart_rates(0..3), &[]).await), expected);
    }
    assert_eq!(wrong.messages().iter().filter(|f| is_batch(f)).count(), 6);
}

/// A link that is cut in the middle of a batch, or of its answers: half a batch is no message, what was answered for is
/// settled and does not come again, and the rest comes as what it was.
#[tokio::test]
async fn a_link_that_is_cut_in_mid_batch_loses_nothing_and_repeats_only_what_nobody_answered_for() {
    let cuts = [1, 200, 3_000, 9_000].map(Luck::CutRequest).into_iter();
    let answers = [1, 40, 700, 1_500].map(Luck::CutAnswer).into_iter();
    for luck in cuts.chain(answers) {
        let receiver = Receiver::start(|frame, _| each(frame, "AA")).await;
        let link = Toxic::start(receiver.port).await;
        link.order(luck);
        let sink = with(&format!("mllp://127.0.0.1:{}", link.port), "batch = 20");
        let items = heart_rates(0..20);
        let first = sink.deliver(&items, &[]).await;
        let open = items.iter().zip(&first).filter(|(_, o)| class(o) == ("WL-F002".into(), "destination"));
        let open: Vec<Item> = open.map(|(item, _)| item.clone()).collect();
        let done = first.iter().filter(|o| matches!(o, Outcome::Delivered(_))).count();
        assert_eq!(open.len() + done, 20, "{luck:?}: {:?}", words(&first));
        let before: Vec<String> = receiver.messages().iter().flat_map(|f| ids(f)).collect();
        // What went out and was not read whole is no message; what was answered for had been read.
        assert!(before.len() == if matches!(luck, Luck::CutRequest(_)) { 0 } else { 20 }, "{luck:?}: {}", before.len());
        assert!(!open.is_empty() && (done > 0) == matches!(luck, Luck::CutAnswer(700 | 1_500)), "{luck:?}: {done}");
        link.order(Luck::Good);
        let second = sink.deliver(&open, &[]).await;
        assert_eq!(classes(&second), vec![(String::new(), "delivered"); open.len()], "{luck:?}");
        let after = receiver.messages().iter().flat_map(|f| ids(f)).collect::<Vec<_>>().split_off(before.len());
        assert_eq!(after.len(), open.len(), "{luck:?}: only these again");
        let all: BTreeSet<&String> = before.iter().chain(&after).collect();
        assert_eq!(all.len(), 20, "{luck:?}");
    }
}

/// One that answers for the batch and then for each message: the late ones are nobody's, and the connection stays good.
#[tokio::test]
async fn what_is_said_twice_disturbs_nothing() {
    let receiver = Receiver::start(|frame, _| match is_batch(frame) {
        true => {
            // When the next batch is under way already.
            let late = Reply::After(Duration::from_millis(50), Box::new(each(frame, "AE")));
            Reply::All(vec![Reply::AckFor("AA", field(frame, "BHS", 11)), late])
        }
        false => Reply::Raw(acknowledgement("AA", &field(frame, "MSH", 10), "")),
    })
    .await;
    let sink = batching(&receiver, "batch = 50");
    for n in 0..4 {
        // Two batches one after the other, then a message.
        let outcomes = sink.deliver(&heart_rates(n * 100..n * 100 + 100), &[]).await;
        assert_eq!(classes(&outcomes), vec![(String::new(), "delivered"); 100], "{n}");
        let outcomes = sink.deliver(&heart_rates(900 + n..901 + n), &[]).await;
        assert_eq!(classes(&outcomes), [(String::new(), "delivered")], "{n}");
    }
    assert_eq!(receiver.messages().len(), 12);
}

/// The ratio of docs/hl7.md: `cargo test --locked --test sink_hl7 -- --ignored --nocapture a_backlog_singly_and_in_batches`.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_backlog_singly_and_in_batches() {
    const READINGS: u64 = 1_000;
    let mut times = Vec::new();
    for (name, batch) in [("singly", 1), ("in batches of 50", 50)] {
        let frames = Arc::new(AtomicUsize::new(0));
        let (count, seen) = (frames.clone(), Arc::new(Mutex::new(BTreeSet::new())));
        let store = seen.clone();
        let receiver = Receiver::start(move |frame, _| {
            count.fetch_add(1, Ordering::SeqCst);
            store.lock().unwrap().extend(ids(frame));
            Reply::After(Duration::from_millis(20), Box::new(each(frame, "AA")))
        })
        .await;
        let sink = batching(&receiver, &format!("batch = {batch}"));
        let items = heart_rates(0..READINGS);
        let since = Instant::now();
        for some in items.chunks(sink.batch_max()) {
            let outcomes = sink.deliver(some, &[]).await;
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Delivered(_))));
        }
        let took = since.elapsed();
        assert_eq!(seen.lock().unwrap().len() as u64, READINGS);
        println!("{READINGS} readings {name}: {:.2} s, {} frames", took.as_secs_f64(), frames.load(Ordering::SeqCst));
        times.push(took.as_secs_f64());
    }
    println!("singly takes {:.0} times as long", times[0] / times[1]);
}
