//! What people at the centre do with the Tasks of alerts: asked for, and obeyed as if they stood here.
//!
//! Promises: who takes a Task there acknowledges the alert here, once, by the way of `wardline alerts ack`; a Task that was
//! refused or given back is a condition that says so; what cannot be asked or read changes nothing and is said.
//! Must never: hold up a delivery, take a refusal for an acknowledgement, or take an alert out of the hands of a person here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};

use super::orders::Order;
use super::pipeline::Technical;
use super::probe::{Survey, Surveys};
use crate::alarm::{Alert, AlertId, Priority};
use crate::fhir::inbound::Unclear;
use crate::fhir::task_returned::{Standing, Task};
use crate::limits;

/// After a start: first things first.
const FIRST_AFTER: Duration = Duration::from_secs(10);
/// The condition that Tasks were refused; a refusal of its own Task is no news.
const DECLINED: &str = "tasks-declined:";
/// Alerts that a condition names.
const NAMED: usize = 5;

/// Who asks for the Tasks of open alerts.
pub(super) struct Worklist {
    surveys: Arc<Surveys>,
    open: watch::Receiver<Arc<[Alert]>>,
    orders: mpsc::Sender<Order>,
}

/// What is known of one destination.
#[derive(Default)]
struct Known {
    /// The last alert that was asked about: the next round begins behind it.
    last: Option<AlertId>,
    /// Rounds that failed in a row.
    failed: u32,
    /// Open alerts that nobody has, as nobody there takes them or will finish them.
    declined: BTreeMap<AlertId, (&'static str, Priority)>,
    /// Whether a round told of them already.
    told: bool,
    /// One of them is new since then.
    news: bool,
}

/// What the Tasks of one alert say.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Nothing,
    /// Somebody has it: a name.
    Taken(String),
    /// Nobody has it any more.
    Declined(&'static str),
    Void,
    Unclear(Unclear),
}

impl Worklist {
    pub(super) fn new(
        surveys: Arc<Surveys>,
        open: watch::Receiver<Arc<[Alert]>>,
        orders: mpsc::Sender<Order>,
    ) -> Arc<Self> {
        Arc::new(Self { surveys, open, orders })
    }

    /// Asks each destination as often as it is configured, until nobody listens. None waits for another.
    pub(super) async fn run(self: Arc<Self>) {
        let all = self
            .surveys
            .worked()
            .map(|(name, survey, settings)| self.follow(name, survey, Duration::from_secs(settings.every_s.max(1))));
        tokio::select! {
            _ = join_all(all) => {}
            () = self.surveys.told.closed() => {}
        }
    }

    async fn follow(&self, name: &Arc<str>, survey: &Survey, every: Duration) {
        let mut known = Known::default();
        tokio::time::sleep(every.min(FIRST_AFTER)).await;
        loop {
            let asked = tokio::time::timeout(limits::TASKS_PATIENCE, self.round(name, survey, &mut known)).await;
            let why = match asked {
                Ok(Ok(unclear)) => {
                    known.failed = 0;
                    self.unclear(name, unclear).await;
                    self.declined(name, &mut known).await;
                    None
                }
                Ok(Err(trouble)) => Some(format!("{trouble}")),
                Err(_) => Some("it takes too long".to_owned()),
            };
            if let Some(why) = &why {
                known.failed = known.failed.saturating_add(1);
                tracing::debug!(destination = %name, why, "The centre could not be asked about its Tasks.");
            }
            self.unasked(name, why, known.failed).await;
            tokio::time::sleep(every).await;
        }
    }

    /// Asks about the alerts whose turn it is. Answers why a Task was not understood.
    async fn round(
        &self,
        name: &Arc<str>,
        survey: &Survey,
        known: &mut Known,
    ) -> Result<Option<Unclear>, crate::sink::Trouble> {
        let open: Arc<[Alert]> = self.open.borrow().clone();
        known.declined.retain(|id, _| open.iter().any(|alert| alert.id == *id && !is_taken_here(alert, name)));
        let mut unclear = None;
        for part in turn(&open, known.last.as_ref()).chunks(limits::TASKS_ASKED_MAX) {
            let ids: Vec<AlertId> = part.iter().map(|alert| alert.id.clone()).collect();
            let (mut heard, mut bad) = (Vec::new(), None);
            for task in survey.prober().tasks(&ids).await? {
                match task {
                    Ok(task) => heard.push(task),
                    Err(why) => bad = Some(why),
                }
            }
            if heard.iter().any(|task| !ids.contains(&task.alert)) {
                bad = Some("it shows Tasks of other alerts than it was asked for");
            }
            unclear = unclear.or(bad);
            for alert in part {
                let word = word(alert, &heard, name);
                if let Word::Unclear(why) = word {
                    unclear = unclear.or(Some(why));
                } else {
                    self.obey(name, alert, word, known).await;
                }
            }
            known.last = ids.last().cloned();
        }
        Ok(unclear)
    }

    async fn obey(&self, name: &Arc<str>, alert: &Alert, word: Word, known: &mut Known) {
        if let Word::Declined(how) = word {
            if known.declined.get(&alert.id).is_none_or(|(before, _)| *before != how) {
                let id = &alert.id;
                tracing::warn!(alert = %id, destination = %name, how, "The centre does not take an alert (WL-G014).");
                known.news = true;
            }
            // As many at most as alerts are open.
            known.declined.insert(alert.id.clone(), (how, alert.priority));
            return;
        }
        known.declined.remove(&alert.id);
        match word {
            Word::Taken(by) => {
                let (answer, done) = oneshot::channel();
                let order = Order::Acknowledge { id: alert.id.clone(), by, hand_over: false, answer };
                // Answered after the commit. What is over by now needs nobody.
                if self.orders.send(order).await.is_ok() && matches!(done.await, Ok(Ok(()))) {
                    tracing::info!(alert = %alert.id, destination = %name, "An alert was taken at the centre.");
                }
            }
            Word::Void => {
                tracing::debug!(alert = %alert.id, destination = %name, "The Task of an alert is entered in error: ignored.");
            }
            Word::Nothing | Word::Declined(_) | Word::Unclear(_) => {}
        }
    }

    /// One condition for all of them; it begins anew when there is a new one, as there is something new to see.
    async fn declined(&self, destination: &str, known: &mut Known) {
        let name = format!("{DECLINED}{destination}");
        let before = std::mem::replace(&mut known.told, !known.declined.is_empty());
        let first = known.declined.iter().take(NAMED);
        let named = first.map(|(id, (how, _))| format!("{} {how}", id.0.get(..8).unwrap_or(&id.0)));
        let (count, named) = (known.declined.len(), named.collect::<Vec<_>>().join(", "));
        let priority = known.declined.values().map(|(_, priority)| *priority).max().unwrap_or(Priority::Low);
        let text = format!(
            "{destination} does not see to {count} alerts that are open here (WL-G014): {named}. See `wardline alerts`"
        );
        if std::mem::take(&mut known.news) && before && known.told {
            self.tell(&name, None).await;
        }
        self.tell(&name, known.told.then_some((priority.max(Priority::Medium), text))).await;
    }

    async fn unclear(&self, destination: &str, why: Option<Unclear>) {
        let text = why.map(|why| {
            (Priority::Low, format!("{destination} shows Tasks of alerts that are not understood: {why} (WL-G013)"))
        });
        self.tell(&format!("tasks-unclear:{destination}"), text).await;
    }

    async fn unasked(&self, destination: &str, why: Option<String>, failed: u32) {
        // A question now and then fails on every network.
        if why.is_some() && failed < limits::TASKS_FAILED_MAX {
            return;
        }
        let text = why.map(|why| {
            (Priority::Low, format!("{destination} cannot be asked what became of its Tasks: {why} (WL-G012)"))
        });
        self.tell(&format!("tasks-unasked:{destination}"), text).await;
    }

    /// `None`: it does not hold, or not any more.
    async fn tell(&self, name: &str, held: Option<(Priority, String)>) {
        let active = held.is_some();
        let (priority, text) = held.unwrap_or((Priority::Low, String::new()));
        let _ = self.surveys.told.send(Technical { name: name.into(), active, priority, text }).await;
    }
}

/// The alerts that are asked about now: those behind the last one, in a circle.
fn turn<'a>(open: &'a [Alert], last: Option<&AlertId>) -> Vec<&'a Alert> {
    let mut all: Vec<&Alert> = open.iter().filter(|a| !a.rule.starts_with(DECLINED)).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let behind = all.iter().position(|a| last.is_some_and(|last| a.id > *last)).unwrap_or(0);
    all.rotate_left(behind);
    all.truncate(limits::TASKS_ROUND_MAX);
    all
}

/// How somebody is named who took an alert at this destination.
fn named(owner: Option<&str>, destination: &str) -> String {
    format!("{} ({destination})", owner.unwrap_or("the centre"))
}

/// A person at this box, or at another destination, has it.
fn is_taken_here(alert: &Alert, destination: &str) -> bool {
    alert.acknowledged.as_ref().is_some_and(|ack| !ack.by.ends_with(&format!(" ({destination})")))
}

/// What the Tasks of this alert say together: one that somebody has counts before one that nobody has.
fn word(alert: &Alert, heard: &[Task], destination: &str) -> Word {
    let mut word = Word::Nothing;
    for task in heard.iter().filter(|task| task.alert == alert.id) {
        if !task.is_about(alert) {
            return Word::Unclear("a Task names another patient than its alert");
        }
        let said = match task.standing {
            Standing::Claimed | Standing::Working | Standing::Done => {
                return match alert.acknowledged {
                    Some(_) => Word::Nothing,
                    None => Word::Taken(named(task.owner.as_deref(), destination)),
                };
            }
            Standing::Declined(how) if !is_taken_here(alert, destination) => Word::Declined(how),
            // Who took it there has it no more.
            Standing::Waiting if alert.acknowledged.is_some() && !is_taken_here(alert, destination) => {
                Word::Declined("given back")
            }
            Standing::Void => Word::Void,
            Standing::Declined(_) | Standing::Waiting | Standing::Held => Word::Nothing,
        };
        if !matches!(word, Word::Declined(_)) {
            word = said;
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::Acknowledged;
    use crate::clock::Stamp;
    use crate::fhir::task_returned::task;

    fn alert(id: &str, by: Option<&str>) -> Alert {
        let acknowledged = by.map(|by| Acknowledged { by: by.into(), at: Stamp::at_ms(1) });
        Alert { id: AlertId(id.into()), patient: None, acknowledged, ..crate::fhir::fixtures::alert(&[]).alert }
    }

    fn tasks(statuses: &[&str]) -> Vec<Task> {
        let one = |status: &&str| {
            let body = serde_json::json!({"resourceType": "Task", "id": "t", "status": status, "owner": {"display": "Ada"},
                "identifier": [{"system": "urn:wardline:alert", "value": "00"}]});
            task(body.to_string().as_bytes()).unwrap()
        };
        statuses.iter().map(one).collect()
    }

    #[test]
    fn the_centre_takes_only_what_nobody_has() {
        let word = |by: Option<&str>, statuses: &[&str]| word(&alert("00", by), &tasks(statuses), "centre");
        let taken = || Word::Taken("Ada (centre)".into());
        for status in ["received", "accepted", "in-progress", "completed"] {
            assert_eq!(word(None, &[status]), taken(), "{status}");
            assert_eq!(word(Some("Joy"), &[status]), Word::Nothing, "{status}");
            assert_eq!(word(Some("Ada (centre)"), &[status]), Word::Nothing, "{status}");
        }
        for status in ["draft", "requested", "ready", "on-hold"] {
            assert_eq!(word(None, &[status]), Word::Nothing, "{status}");
            assert_eq!(word(Some("Joy"), &[status]), Word::Nothing, "{status}");
        }
        assert_eq!(word(None, &["entered-in-error"]), Word::Void);
        assert_eq!(word(None, &[]), Word::Nothing);
    }

    #[test]
    fn a_refusal_is_no_acknowledgement() {
        let word = |by: Option<&str>, statuses: &[&str]| word(&alert("00", by), &tasks(statuses), "centre");
        for status in ["rejected", "cancelled", "failed"] {
            let Word::Declined(how) = word(None, &[status]) else { panic!("{status}") };
            assert_eq!(how, status);
            assert!(matches!(word(Some("Ada (centre)"), &[status]), Word::Declined(_)), "{status}");
            // A person here, or at another centre, has it.
            assert_eq!(word(Some("Joy"), &[status]), Word::Nothing, "{status}");
            assert_eq!(word(Some("Ada (other)"), &[status]), Word::Nothing, "{status}");
        }
        assert_eq!(word(Some("Ada (centre)"), &["requested"]), Word::Declined("given back"));
        assert_eq!(word(None, &["rejected", "requested"]), Word::Declined("rejected"));
        assert_eq!(word(None, &["rejected", "accepted"]), Word::Taken("Ada (centre)".into()));
    }

    #[test]
    fn each_alert_has_its_turn() {
        let mut open: Vec<Alert> = (0..450).map(|n| alert(&format!("{n:04}"), None)).collect();
        open[7].rule = format!("{DECLINED}centre").into();
        let (mut last, mut asked) = (None, std::collections::BTreeSet::new());
        for _ in 0..3 {
            let part = turn(&open, last.as_ref());
            assert_eq!(part.len(), limits::TASKS_ROUND_MAX);
            asked.extend(part.iter().map(|a| a.id.clone()));
            last = part.last().map(|a| a.id.clone());
        }
        assert_eq!(asked.len(), 449, "all but the condition's own");
        assert!(turn(&open[..3], last.as_ref()).len() == 3 && turn(&[], None).is_empty());
    }
}
