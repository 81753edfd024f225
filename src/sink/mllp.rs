//! A receiver of HL7 v2.6 messages over MLLP: one connection for readings and one for alerts, one message, or
//! one batch of a backlog, outstanding on each.
//!
//! Promises: an item is delivered by the acknowledgement that names its own message; what is ambiguous is sent again under
//! the same control id; a refusal that may be the receiver's own is tried again while it refuses everything.
//! Must never: take an acknowledgement of another message, send a byte before the certificate is verified, or leave the
//! receiver to guess whose a reading is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::answer::patience;
use super::gate::{self, Gate, reading_of};
use super::why::Trouble;
use super::{Destination, SinkError};
use crate::alarm::AlertEvent;
use crate::clock::Clock;
use crate::config::{CharacterSet, FirstCode, FirstUnit, GatewayId, HL7_BATCH_MAX, Hl7Settings, ResultStatus};
use crate::custody::{Item, Outcome, Payload, Receipt};
use crate::demographics::Demographics;
use crate::hl7v2::{self, Ack, Charset, Facets, Message, Order, Sender, Unmappable, Verdict, wrap};
use crate::limits;
use crate::minimum::{Field, Fields};
use crate::reading::{PatientId, Reading};

mod batch;
mod line;

use batch::Batches;
use line::{Address, Connection};

/// A receiver of HL7 v2.6 messages.
pub struct MllpSink {
    address: Address,
    timeout: Duration,
    sender: Sender,
    facets: Facets,
    /// It matches a patient by these beside the pseudonym.
    asked: Arc<[Field]>,
    who: Who,
    /// What may still go at this moment.
    gate: Arc<dyn Gate>,
    alerts_too: bool,
    per_message: usize,
    batches: Batches,
    keep: bool,
    /// Control ids by which a late acknowledgement is known.
    remembered: usize,
    clock: Clock,
    readings: Mutex<Line>,
    alerts: Mutex<Line>,
    /// Refusals (AR) since something was last accepted.
    refusals: AtomicU32,
    /// How often a connection that was kept turned out to be closed.
    stale: AtomicU32,
}

/// Match fields of a patient as they are given at this moment, cut to what this destination asks for.
pub type Who = Arc<dyn Fn(&PatientId) -> Option<Arc<Demographics>> + Send + Sync>;

/// Readings of one message, in their order.
type Readings<'a> = Vec<(&'a Item, &'a Arc<Reading>)>;

/// It had the time, and said nothing.
const SILENCE: &str = "it takes too long";

/// An answer to a batch is read this far.
const ANSWERS_BYTES_MAX: usize = 4 * limits::HL7_ANSWER_BYTES_MAX;

/// A connection, while it is good, and what was sent over it lately.
#[derive(Default)]
struct Line {
    connection: Option<Connection>,
    sent: VecDeque<String>,
}

impl Line {
    /// Keeps these and the last ones before them, `most` in all.
    fn remember<'a>(&mut self, ids: impl Iterator<Item = &'a str>, most: usize) {
        ids.for_each(|id| self.sent.push_front(id.to_owned()));
        self.sent.truncate(most);
    }
}

impl MllpSink {
    /// From settings; sends nothing.
    pub fn new(settings: &Hl7Settings, gateway: &GatewayId, clock: &Clock) -> Result<Self, SinkError> {
        // A batch is answered by as many acknowledgements.
        let answers = if settings.batch > 1 { ANSWERS_BYTES_MAX } else { limits::HL7_ANSWER_BYTES_MAX };
        let [event, source, phase, state, inactivation, priority, kind] = settings.alert_facets.clone();
        Ok(Self {
            address: Address::new(&settings.url, settings.tls(), answers)?,
            timeout: Duration::from_secs(settings.timeout_s.max(1)),
            sender: sender(settings, gateway),
            facets: Facets { event, source, phase, state, inactivation, priority, kind },
            asked: Fields::from(settings.fields.as_deref()).of_a_person(),
            who: Arc::new(|_| None),
            gate: Arc::new(gate::Open),
            alerts_too: settings.alerts,
            per_message: settings.readings_per_message.clamp(1, limits::HL7_READINGS_PER_MESSAGE_MAX),
            batches: Batches::new(settings.batch.clamp(1, HL7_BATCH_MAX), &settings.name),
            keep: settings.keep_connection,
            // Those of two batches: a receiver may answer for a batch, and then for each message in it.
            remembered: limits::HL7_SENT_REMEMBERED + 2 * settings.batch.clamp(1, HL7_BATCH_MAX) - 2,
            clock: clock.clone(),
            readings: Mutex::default(),
            alerts: Mutex::default(),
            refusals: AtomicU32::new(0),
            stale: AtomicU32::new(0),
        })
    }

    /// Asked for match fields before each message: until then nobody's are known.
    pub fn asks(&mut self, who: Who) {
        self.who = who;
    }

    /// Asked before each message for what may still go: until then, everything.
    pub fn gated(&mut self, gate: Arc<dyn Gate>) {
        self.gate = gate;
    }

    /// What the receiver finds this patient by. `Err`: it would have to guess.
    fn person(&self, patient: Option<&PatientId>) -> Result<Option<Arc<Demographics>>, Trouble> {
        let Some(patient) = patient.filter(|_| !self.asked.is_empty()) else { return Ok(None) };
        let person = (self.who)(patient).filter(|person| self.asked.iter().all(|field| person.has(*field)));
        person.map(Some).ok_or(Trouble::Hl7Nameless)
    }

    /// Outcomes of readings that may travel together, one for each. What may not go any more is left out.
    async fn together(&self, group: &[(&Item, &Arc<Reading>)]) -> Vec<Outcome> {
        let may: Vec<Option<Item>> = group.iter().map(|(item, _)| self.gate.admit(item)).collect();
        let going: Vec<_> = may.iter().flatten().filter_map(|item| Some((item, reading_of(item)?))).collect();
        let mut outcomes = self.message(&going).await.into_iter();
        let outcome = |one: &Option<Item>| one.as_ref().and_then(|_| outcomes.next()).unwrap_or(Outcome::Withheld);
        may.iter().map(outcome).collect()
    }

    /// Outcomes of readings in one message, or in one each if it is refused whole.
    async fn message(&self, group: &[(&Item, &Arc<Reading>)]) -> Vec<Outcome> {
        let now = self.clock.now().wall_ms;
        let readings: Vec<&Reading> = group.iter().map(|(_, reading)| &***reading).collect();
        let Some((first, reading)) = group.first() else { return Vec::new() };
        let person = match self.person(reading.patient.as_ref()) {
            Ok(person) => person,
            Err(trouble) => return vec![trouble.item(limits::ITEM_RETRY.1); group.len()],
        };
        let outcome = match hl7v2::write_readings(&readings, &self.sender, person.as_deref(), now) {
            Ok(message) => self.send(&self.readings, first, &message).await,
            Err(why) => unmappable(why),
        };
        let refused = !matches!(&outcome, Outcome::Delivered(_) | Outcome::Retry { destination: true, .. });
        if group.len() == 1 || !refused {
            return vec![outcome; group.len()];
        }
        // Refused whole: one of them, perhaps. Each alone, until the receiver is away.
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(group.len());
        for one in group {
            let away = away(&outcomes);
            outcomes.push(match away {
                Some(away) => away,
                None => Box::pin(self.together(std::slice::from_ref(one))).await.pop().unwrap_or(outcome.clone()),
            });
        }
        outcomes
    }

    async fn alert(&self, item: &Item, event: &AlertEvent, evidence: &[Arc<Reading>]) -> Outcome {
        if self.gate.admit(item).is_none() {
            return Outcome::Withheld;
        }
        let evidence = &gate::evidence(&*self.gate, evidence);
        let person = match self.person(event.alert.patient.as_ref()) {
            Ok(person) => person,
            Err(trouble) => return trouble.item(limits::ITEM_RETRY.1),
        };
        let (to, now) = ((&self.sender, &self.facets), self.clock.now().wall_ms);
        let message = hl7v2::write_alert(event, evidence, to, person.as_deref(), now);
        self.send(&self.alerts, item, &message).await
    }

    /// Sends one message and says what its acknowledgement means.
    async fn send(&self, line: &Mutex<Line>, item: &Item, message: &Message) -> Outcome {
        match self.exchange(line, message).await {
            Ok(ack) => self.judge(item, ack, false),
            Err(trouble) => trouble.destination(None),
        }
    }

    /// `others_pass`: it took others at the same time.
    fn judge(&self, item: &Item, ack: Ack, others_pass: bool) -> Outcome {
        match ack.verdict {
            Verdict::Accepted => {
                self.refusals.store(0, Ordering::Relaxed);
                let by = if ack.by.is_empty() { "" } else { " at " };
                let location: String = format!("{}{by}{}", ack.control_id, ack.by);
                Outcome::Delivered(Receipt { location: location.into(), known: false })
            }
            // It was read and is wrong: sending it again would be answered alike.
            Verdict::Error => Trouble::Hl7Error(ack.detail).reject(),
            Verdict::Refused => {
                let trouble = Trouble::Hl7Refused(ack.detail);
                // One that refuses whatever comes is down; one that takes the others refuses this one.
                let all = !others_pass && self.refusals.fetch_add(1, Ordering::Relaxed) + 1 >= limits::HL7_REFUSALS_MAX;
                match () {
                    () if all => trouble.destination(None),
                    () if item.attempts >= limits::ITEM_ATTEMPTS_MAX => trouble.reject(),
                    () => trouble.item(patience(item.attempts)),
                }
            }
        }
    }

    /// The acknowledgement of this message. On any trouble the connection is given up: what comes late on it is nobody's.
    async fn exchange(&self, line: &Mutex<Line>, message: &Message) -> Result<Ack, Trouble> {
        let mut line = line.lock().await;
        line.remember(std::iter::once(&*message.control_id), self.remembered);
        if let Some(mut connection) = self.kept(&mut line) {
            let answer = self.talk(&mut connection, message, &line.sent).await;
            if answer.is_ok() || connection.heard {
                return answer.inspect(|_| line.connection = Some(connection));
            }
            // It was closed before anything was read, most likely: some receivers take one message for each connection.
            // Under its control id the message may be sent again at once.
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
        let mut connection = self.address.connect(self.timeout).await?;
        let ack = self.talk(&mut connection, message, &line.sent).await?;
        line.connection = self.keeps().then_some(connection);
        Ok(ack)
    }

    /// The connection that was kept, if it is good. Taken out: when this is dropped half way, it goes with it.
    fn kept(&self, line: &mut Line) -> Option<Connection> {
        let mut kept = line.connection.take().filter(|_| self.keeps())?;
        kept.is_usable().then_some(kept)
    }

    fn keeps(&self) -> bool {
        self.keep && self.stale.load(Ordering::Relaxed) < limits::HL7_STALE_MAX
    }

    async fn talk(&self, on: &mut Connection, message: &Message, sent: &VecDeque<String>) -> Result<Ack, Trouble> {
        let octets = wrap(self.sender.characters.octets(&message.text));
        timeout(self.timeout, talk(on, &octets, message, sent)).await.unwrap_or_else(|_| {
            // Silence is an answer of its own: the message is under way, or lost in thought.
            on.heard = true;
            Err(Trouble::NoAnswer(SILENCE))
        })
    }
}

async fn talk(
    connection: &mut Connection,
    octets: &[u8],
    message: &Message,
    sent: &VecDeque<String>,
) -> Result<Ack, Trouble> {
    connection.write(octets).await?;
    for strays in 0..limits::HL7_STRAYS_MAX.saturating_add(sent.len()) {
        let answer = connection.read().await?;
        let ack = hl7v2::read_ack(&answer).ok_or(Trouble::Hl7Unclear("it is no acknowledgement"))?;
        if ack.control_id == message.control_id {
            return Ok(ack);
        }
        if ack.control_id.is_empty() {
            return Err(Trouble::Hl7Unclear("it names no message"));
        }
        if strays == 0 {
            let late = sent.contains(&ack.control_id);
            tracing::warn!(late, "an acknowledgement of another message was passed over");
        }
    }
    Err(Trouble::Hl7Unclear("it is for other messages"))
}

impl Destination for MllpSink {
    async fn deliver(&self, items: &[Item], evidence: &[Arc<Reading>]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(items.len());
        while let Some(rest) = items.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            // When the receiver is away, the rest need not find out.
            if let Some(away) = away(&outcomes) {
                outcomes.push(away);
                continue;
            }
            let waiting = rest.iter().take_while(|item| reading_of(item).is_some()).count();
            if let Some(many) = rest.get(..waiting).filter(|many| many.len() > 1 && self.batches.most() > 1) {
                let told = self.batched(many).await;
                if !told.is_empty() {
                    outcomes.extend(told);
                    continue;
                }
            }
            let group = group(rest, self.per_message);
            if !group.is_empty() {
                outcomes.extend(self.together(&group).await);
                continue;
            }
            let Some(item) = rest.first() else { break };
            outcomes.push(match &item.what {
                Payload::Alert(event) => self.alert(item, event, evidence).await,
                Payload::Reading(_) => Trouble::Hl7Unclear("nothing is known of this item").item(limits::ITEM_RETRY.0),
            });
        }
        outcomes
    }

    fn batch_max(&self) -> usize {
        limits::HL7_MESSAGES_PER_BATCH.max(self.batches.most()).saturating_mul(self.per_message)
    }

    fn linger(&self) -> Duration {
        limits::HL7_LINGER
    }

    fn takes_readings(&self) -> bool {
        true
    }

    fn takes_alerts(&self) -> bool {
        self.alerts_too
    }
}

/// The first readings that may travel together: of one patient, in their order.
fn group(items: &[Item], most: usize) -> Readings<'_> {
    let mut found: Readings<'_> = Vec::new();
    for item in items.iter().take(most) {
        let Payload::Reading(reading) = &item.what else { break };
        if found.first().is_some_and(|(_, first)| first.patient != reading.patient) {
            break;
        }
        found.push((item, reading));
    }
    found
}

/// That the receiver is away, as the last one that was sent found out.
fn away(outcomes: &[Outcome]) -> Option<Outcome> {
    let last = outcomes.iter().rfind(|outcome| **outcome != Outcome::Withheld)?;
    matches!(last, Outcome::Retry { destination: true, .. }).then(|| last.clone())
}

fn unmappable(why: Unmappable) -> Outcome {
    let trouble = Trouble::Hl7Unmappable(why);
    match why {
        Unmappable::Unit | Unmappable::Undated | Unmappable::Uncoded => trouble.reject(),
        // It may get a patient yet.
        Unmappable::Unassigned => trouble.item(limits::ITEM_RETRY.1),
    }
}

fn sender(settings: &Hl7Settings, gateway: &GatewayId) -> Sender {
    Sender {
        gateway: gateway.to_string(),
        eui64: settings.eui64.clone().unwrap_or_else(|| Sender::local_eui64(gateway)),
        facility: settings.sending_facility.clone(),
        to_application: settings.receiving_application.clone(),
        to_facility: settings.receiving_facility.clone(),
        processing: settings.processing_id.clone(),
        profile: settings.message_profile.clone(),
        alert_profile: settings.alert_profile.clone(),
        authority: settings.assigning_authority.clone(),
        identifier_type: settings.identifier_type.clone(),
        match_authority: settings.match_authority.clone().unwrap_or_default(),
        match_identifier_type: settings.match_identifier_type.clone(),
        codes: if settings.first_code == FirstCode::Mdc { Order::Mdc } else { Order::Other },
        units: if settings.first_unit == FirstUnit::Mdc { Order::Mdc } else { Order::Other },
        status: if settings.result_status == ResultStatus::R { "R" } else { "F" },
        characters: match settings.charset {
            CharacterSet::Utf8 => Charset::Utf8,
            CharacterSet::Latin1 => Charset::Latin1,
            CharacterSet::Ascii => Charset::Ascii,
        },
    }
}
