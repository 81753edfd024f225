use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::*;
use crate::clock::Stamp;
use crate::custody::Receipt;
use crate::fhir::fixtures;
use crate::reading::{Reading, ReadingKey};
use crate::sink::Sink;

/// An outbox in memory that keeps the journal's contract.
#[derive(Default)]
struct Memory {
    due: HashMap<&'static str, VecDeque<Item>>,
    leased: HashMap<ItemId, (Lane, Item)>,
    settled: Vec<(ItemId, Outcome)>,
    attempts: HashMap<ItemId, u32>,
}

#[derive(Clone)]
struct Box_(Rc<RefCell<Memory>>, watch::Sender<u64>);

fn word(lane: Lane) -> &'static str {
    match lane {
        Lane::Alert => "alert",
        Lane::Fresh => "fresh",
        Lane::Backlog => "backlog",
    }
}

impl Box_ {
    fn new() -> Self {
        Self(Rc::default(), watch::channel(0).0)
    }
    fn put(&self, lane: Lane, ids: impl IntoIterator<Item = i64>) {
        for id in ids {
            let item = match lane {
                Lane::Alert => {
                    Item { id: ItemId::Alert(id), what: Payload::Alert(Arc::new(fixtures::alert(&[]))), attempts: 0 }
                }
                _ => Item {
                    id: ItemId::Reading(id),
                    what: Payload::Reading(Arc::new(fixtures::reading("heart-rate"))),
                    attempts: 0,
                },
            };
            self.0.borrow_mut().due.entry(word(lane)).or_default().push_back(item);
        }
        self.1.send_modify(|n| *n += 1);
    }
    fn delivered(&self) -> usize {
        self.0.borrow().settled.iter().filter(|(_, o)| matches!(o, Outcome::Delivered(_))).count()
    }
    fn commits(&self) -> usize {
        self.0.borrow().settled.len()
    }
}

impl Outbox for Box_ {
    async fn lease(&self, lane: Lane, max: usize) -> Result<Vec<Item>, OutboxError> {
        let mut memory = self.0.borrow_mut();
        assert!(!memory.leased.values().any(|(l, _)| *l == lane), "leased again before all was settled");
        let due = memory.due.entry(word(lane)).or_default();
        let n = due.len().min(max);
        let items: Vec<Item> = due.drain(..n).collect();
        for item in &items {
            memory.leased.insert(item.id, (lane, item.clone()));
        }
        Ok(items)
    }
    async fn settle(&self, outcomes: Vec<(ItemId, Outcome)>) -> Result<(), OutboxError> {
        tokio::task::yield_now().await;
        for (id, outcome) in outcomes {
            let (lane, mut item) = self.0.borrow_mut().leased.remove(&id).expect("settled once, and leased before");
            if let Outcome::Retry { after, destination, why } = &outcome {
                item.attempts += u32::from(!destination || why.may_be_the_items());
                self.0.borrow_mut().attempts.insert(id, item.attempts);
                let lane = if lane == Lane::Alert { lane } else { Lane::Backlog };
                let this = self.clone();
                let after = after.unwrap_or_default();
                tokio::task::spawn_local(async move {
                    sleep(after).await;
                    let mut memory = this.0.borrow_mut();
                    let due = memory.due.entry(word(lane)).or_default();
                    let number = |item: &Item| match item.id {
                        ItemId::Reading(id) | ItemId::Alert(id) => id,
                    };
                    let place = due.partition_point(|other| number(other) < number(&item));
                    due.insert(place, item);
                    drop(memory);
                    this.1.send_modify(|n| *n += 1);
                });
            }
            self.0.borrow_mut().settled.push((id, outcome));
        }
        Ok(())
    }
    fn changed(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
    async fn evidence(&self, _keys: Vec<ReadingKey>) -> Vec<Arc<Reading>> {
        Vec::new()
    }
}

/// A destination that follows a script: what it says to each request, by time and items.
struct Script<F>(F, Requests, Instant);

impl<F: Fn(Duration, &Item) -> Outcome> Destination for Script<F> {
    async fn deliver(&self, items: &[Item], _evidence: &[Arc<Reading>]) -> Vec<Outcome> {
        let at = self.2.elapsed();
        self.1.borrow_mut().push((at, items.iter().map(|i| i.id).collect()));
        sleep(Duration::from_millis(2)).await;
        items.iter().map(|i| (self.0)(at, i)).collect()
    }
    fn batch_max(&self) -> usize {
        10
    }
    fn linger(&self) -> Duration {
        Duration::from_millis(50)
    }
    fn takes_readings(&self) -> bool {
        true
    }
    fn takes_alerts(&self) -> bool {
        true
    }
}

fn done() -> Outcome {
    Outcome::Delivered(Receipt { location: "x".into(), known: false })
}

type Requests = Rc<RefCell<Vec<(Duration, Vec<ItemId>)>>>;

/// Runs the loop against a script while `scene` plays; gives the requests that were made and the last status.
fn play<F, S>(script: F, outbox: &Box_, scene: S) -> (Vec<(Duration, Vec<ItemId>)>, DestinationStatus)
where
    F: Fn(Duration, &Item) -> Outcome + 'static,
    S: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let requests = Requests::default();
        let sink = Script(script, requests.clone(), Instant::now());
        let (status, seen) = watch::channel(DestinationStatus::default());
        let stop = CancellationToken::new();
        let clock = Clock::manual(Stamp::at_ms(0));
        let task = tokio::task::spawn_local(run(
            "x".into(),
            sink,
            outbox.clone(),
            clock,
            stop.clone(),
            status,
            Dice::default(),
        ));
        scene.await;
        stop.cancel();
        task.await.unwrap();
        let status = seen.borrow().clone();
        (requests.take(), status)
    })
}

async fn seconds(n: u64) {
    sleep(Duration::from_secs(n)).await;
}

#[test]
fn everything_is_delivered_once_in_batches() {
    let outbox = Box_::new();
    outbox.put(Lane::Backlog, 0..95);
    let (requests, status) = play(|_, _| done(), &outbox, seconds(1));
    assert_eq!(outbox.delivered(), 95);
    let ids: Vec<_> = requests.iter().flat_map(|(_, ids)| ids).collect();
    assert_eq!((ids.len(), requests.len()), (95, 10));
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 95);
    assert_eq!((status.state, status.delivered), (State::Up, 95));
}

#[test]
fn fresh_readings_overtake_the_backlog_and_alerts_wait_for_nobody() {
    let outbox = Box_::new();
    outbox.put(Lane::Backlog, 0..1_000);
    let scene = async {
        sleep(Duration::from_millis(21)).await;
        outbox.put(Lane::Fresh, 2_000..2_003);
        outbox.put(Lane::Alert, 1..2);
        seconds(2).await;
    };
    let (requests, _) = play(|_, _| done(), &outbox, scene);
    let place = |id| requests.iter().position(|(_, ids)| ids.contains(&id)).unwrap();
    let alert = requests[place(ItemId::Alert(1))].0;
    assert!(alert <= Duration::from_millis(22), "{alert:?}");
    let fresh = requests[place(ItemId::Reading(2_000))].0;
    assert!(fresh <= Duration::from_millis(25), "{fresh:?}");
    assert_eq!(outbox.delivered(), 1_004);
}

#[test]
fn thin_traffic_travels_together_and_the_first_reading_at_once() {
    let outbox = Box_::new();
    let scene = async {
        seconds(1).await;
        for i in 0..100 {
            outbox.put(Lane::Fresh, [i]);
            sleep(Duration::from_millis(10)).await;
        }
        seconds(1).await;
    };
    let (requests, _) = play(|_, _| done(), &outbox, scene);
    assert_eq!(outbox.delivered(), 100);
    assert!(requests[0].0 <= Duration::from_millis(1_001), "{:?}", requests[0].0);
    assert!((15..=30).contains(&requests.len()), "{}", requests.len());
}

#[test]
fn after_an_outage_the_first_item_goes_within_a_second_and_the_rest_follows() {
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..500);
    let outage = Duration::from_secs(6 * 3_600);
    let down = move |at: Duration, _: &Item| {
        if at < outage { Trouble::Unreachable("refused").destination(None) } else { done() }
    };
    let scene = async {
        sleep(outage - Duration::from_secs(1)).await;
        outbox.put(Lane::Fresh, 1_000..1_100);
        seconds(5).await;
    };
    let (requests, status) = play(down, &outbox, scene);
    assert_eq!(outbox.delivered(), 600);
    let first = requests.iter().position(|(at, _)| *at >= outage).unwrap();
    assert!(requests[first].0 - outage < Duration::from_secs(1));
    let last = requests.last().unwrap().0;
    assert!(last - outage < Duration::from_secs(2), "drained at {last:?}");
    // One item at a time asks, about twice a second, and the disk is left alone.
    assert!(requests[1..first].iter().all(|(_, ids)| ids.len() == 1));
    assert!(first > 10_000 && outbox.commits() < 2_000, "{first} {}", outbox.commits());
    assert_eq!(status.state, State::Up);
}

#[test]
fn what_a_destination_asks_for_is_obeyed_within_bounds() {
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..10);
    let throttled = |at: Duration, _: &Item| {
        if at < Duration::from_secs(20) {
            Trouble::Throttled(429).destination(Some(Duration::from_secs(20)))
        } else {
            done()
        }
    };
    let (requests, _) = play(throttled, &outbox, seconds(60));
    let times: Vec<_> = requests.iter().map(|(at, _)| at.as_secs()).collect();
    assert!(times[0] == 0 && (20..=25).contains(&times[1]), "{times:?}");
    assert_eq!(outbox.delivered(), 10);
}

#[test]
fn one_item_that_fails_the_whole_does_not_hold_the_others() {
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..100);
    let poison = |_: Duration, item: &Item| {
        if item.id == ItemId::Reading(0) { Trouble::ServerError(500).destination(None) } else { done() }
    };
    play(poison, &outbox, seconds(600));
    assert_eq!(outbox.delivered(), 99);
}

/// A server that never answers to one of them, and is well else.
#[test]
fn one_item_that_makes_the_destination_hang_does_not_hold_the_others() {
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..100);
    let poison = |_: Duration, item: &Item| {
        if item.id == ItemId::Reading(30) { Trouble::NoAnswer("late").destination(None) } else { done() }
    };
    play(poison, &outbox, seconds(1_800));
    assert_eq!(outbox.delivered(), 99);
    outbox.put(Lane::Fresh, 100..200);
    play(poison, &outbox, seconds(600));
    assert_eq!(outbox.delivered(), 199);
}

/// X4: nothing is given up because a destination was unwell for long.
#[test]
fn a_month_of_failures_gives_nothing_up() {
    const MONTH: Duration = Duration::from_secs(30 * 86_400);
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..50);
    let unwell = |at: Duration, _: &Item| if at < MONTH { Trouble::ServerError(500).destination(None) } else { done() };
    let (requests, status) = play(unwell, &outbox, seconds(30 * 86_400 + 600));
    assert_eq!((outbox.delivered(), status.rejected), (50, 0));
    assert!(requests.len() < 90_000, "{} requests in a month", requests.len());
}

#[test]
fn a_refused_item_is_settled_and_counted() {
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..10);
    let (_, status) = play(
        |_, item| match item.id {
            ItemId::Reading(3) => Trouble::Doubled.reject(),
            _ => done(),
        },
        &outbox,
        seconds(1),
    );
    assert_eq!((outbox.delivered(), status.rejected, status.state), (9, 1, State::Up));
}

/// What was not sent says nothing of the destination, neither well nor ill.
#[test]
fn what_was_not_sent_is_no_word_of_the_destination() {
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..10);
    let (_, status) = play(
        |_, item| match item.id {
            ItemId::Reading(3) => Outcome::Withheld,
            _ => done(),
        },
        &outbox,
        seconds(1),
    );
    assert_eq!((outbox.delivered(), status.rejected, status.state), (9, 0, State::Up));
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..2);
    let down = |_: Duration, item: &Item| match item.id {
        ItemId::Reading(0) => Trouble::Unreachable("refused").destination(None),
        _ => Outcome::Withheld,
    };
    let (_, status) = play(down, &outbox, seconds(30));
    assert_eq!((status.state, outbox.delivered()), (State::Down, 0));
    assert!(outbox.commits() < 200, "{}", outbox.commits());
}

#[test]
fn a_hanging_answer_does_not_hold_the_end_for_long() {
    struct Hang;
    impl Destination for Hang {
        async fn deliver(&self, _: &[Item], _: &[Arc<Reading>]) -> Vec<Outcome> {
            std::future::pending().await
        }
        fn batch_max(&self) -> usize {
            1
        }
        fn linger(&self) -> Duration {
            Duration::ZERO
        }
        fn takes_readings(&self) -> bool {
            true
        }
        fn takes_alerts(&self) -> bool {
            false
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outbox = Box_::new();
    outbox.put(Lane::Fresh, 0..3);
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let status = watch::channel(DestinationStatus::default()).0;
        let work = run(
            "x".into(),
            Hang,
            outbox.clone(),
            Clock::manual(Stamp::at_ms(0)),
            stop.clone(),
            status,
            Dice::default(),
        );
        let ((), ()) = tokio::join!(work, async {
            seconds(1).await;
            stop.cancel();
        });
    });
    assert_eq!(outbox.commits(), 0, "what is not known is not settled");
}

#[test]
fn the_loop_can_be_a_task() {
    fn sendable<T: Send>(_: impl FnOnce(Sink) -> T) {}
    struct Nowhere;
    impl Outbox for Nowhere {
        async fn lease(&self, _: Lane, _: usize) -> Result<Vec<Item>, OutboxError> {
            Err(OutboxError::Closed)
        }
        async fn settle(&self, _: Vec<(ItemId, Outcome)>) -> Result<(), OutboxError> {
            Err(OutboxError::Closed)
        }
        fn changed(&self) -> watch::Receiver<u64> {
            watch::channel(0).1
        }
        async fn evidence(&self, _: Vec<ReadingKey>) -> Vec<Arc<Reading>> {
            Vec::new()
        }
    }
    sendable(|sink| {
        let status = watch::channel(DestinationStatus::default()).0;
        run("x".into(), sink, Nowhere, Clock::system(), CancellationToken::new(), status, Dice::default())
    });
}
