//! A backlog in batches: what the answers to a batch mean for each message in it, and whether the receiver takes batches.
//!
//! Promises: a message is settled by an acknowledgement that names it, or its batch; what nobody answered for goes out
//! again under its own control id; a receiver that takes no batches gets single messages, and that is said once.
//! Must never: give a reading up for a word about the batch, or hold more than a bounded batch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::time::timeout;

use super::line::Connection;
use super::{MllpSink, Readings, SILENCE, away, group, reading_of};
use crate::custody::{Item, Outcome};
use crate::hl7v2::{self, Ack, Answer, Message, Verdict, wrap};
use crate::limits;
use crate::sink::why::Trouble;

/// So many batches in a row without a whole answer, while single messages pass: the receiver takes none.
const STRIKES_MAX: u32 = 3;
/// Octets of messages in a batch; what does not fit goes into the next one.
const OCTETS_MAX: usize = 1 << 20;

/// How readings travel, as far as that changes while it runs.
pub(super) struct Batches {
    /// Messages in a batch at most; 1: there are none.
    most: usize,
    strikes: AtomicU32,
    given_up: AtomicBool,
    destination: String,
}

impl Batches {
    pub fn new(most: usize, destination: &str) -> Self {
        let (strikes, given_up) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { most, strikes, given_up, destination: destination.into() }
    }

    /// Messages in a batch at most, now.
    pub fn most(&self) -> usize {
        if self.given_up.load(Ordering::Relaxed) { 1 } else { self.most }
    }

    /// A batch had a whole answer.
    fn works(&self) {
        self.strikes.store(0, Ordering::Relaxed);
    }

    /// A batch had none, or one that its messages had not deserved.
    fn fails(&self, weight: u32) {
        let before = self.strikes.fetch_add(weight, Ordering::Relaxed);
        if before.saturating_add(weight) >= STRIKES_MAX && !self.given_up.swap(true, Ordering::Relaxed) {
            let destination = &*self.destination;
            tracing::warn!(%destination, code = "WL-H006", "the receiver takes no batches: one message at a time until a restart");
        }
    }
}

/// What was answered to a batch.
#[derive(Debug, Default)]
struct Answers {
    /// By MSA-2.
    own: HashMap<String, Ack>,
    /// The one whose MSA-2 is BHS-11.
    whole: Option<Ack>,
    /// An answering batch that names this one and holds nothing: all was taken (2.10.3.3).
    taken: bool,
    /// One that holds refusals only. By 2.10.3.3 the rest was taken, too; but so answers who stopped at the first error.
    refusals: bool,
}

/// What becomes of a message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Its acknowledgement.
    Told(Ack),
    /// To be sent by itself.
    Alone,
    /// Nobody knows.
    Unknown,
}

impl Answers {
    /// Whether there was news in it.
    fn take(&mut self, answer: &Answer, batch: &str, ids: &[&str]) -> bool {
        let refuses = |ack: &Ack| ack.verdict != Verdict::Accepted && ids.contains(&&*ack.control_id);
        let mut news = false;
        if answer.is_whole && answer.batch.as_deref() == Some(batch) && answer.acks.iter().all(refuses) {
            let said = if answer.acks.is_empty() { &mut self.taken } else { &mut self.refusals };
            news = !std::mem::replace(said, true);
        }
        for ack in &answer.acks {
            if ack.control_id == batch {
                news |= self.whole.is_none();
                self.whole.get_or_insert_with(|| ack.clone());
            } else if ids.contains(&&*ack.control_id) {
                news |= !self.own.contains_key(&ack.control_id);
                self.own.entry(ack.control_id.clone()).or_insert_with(|| ack.clone());
            }
        }
        news
    }

    fn are_complete(&self, ids: &[&str]) -> bool {
        self.taken || self.refusals || self.whole.is_some() || ids.iter().all(|id| self.own.contains_key(*id))
    }

    /// One message of several was answered for: the receiver reads a batch as one message.
    fn is_as_of_one(&self, ids: &[&str]) -> bool {
        !self.are_complete(ids) && self.own.len() == 1
    }

    /// What is known of each message when no more comes. `understood`: what came last was.
    fn fates(&self, batch: &str, ids: &[&str], understood: bool) -> Vec<Fate> {
        let refused = self.whole.as_ref().is_some_and(|ack| ack.verdict != Verdict::Accepted);
        // Of a receiver that reads the batch as one message, a refusal is about all of it.
        let one = self.is_as_of_one(ids) && self.own.values().all(|ack| ack.verdict != Verdict::Accepted);
        let of_batch = |id: &str| {
            let by = self.whole.as_ref().map(|ack| ack.by.clone()).unwrap_or_default();
            let control_id = format!("{id} in {batch}");
            Fate::Told(Ack { verdict: Verdict::Accepted, control_id, by, detail: String::new() })
        };
        let fate = |id: &&str| match self.own.get(*id) {
            Some(ack) if ack.verdict == Verdict::Accepted => Fate::Told(ack.clone()),
            _ if refused || one => Fate::Alone,
            // What is wrong may be the batch: of the last message, that a trailer stands behind it. The answer to itself decides.
            Some(ack) if ack.verdict == Verdict::Error => Fate::Alone,
            Some(ack) => Fate::Told(ack.clone()),
            None if self.taken || self.whole.is_some() => of_batch(id),
            None if self.refusals || !understood => Fate::Alone,
            None => Fate::Unknown,
        };
        ids.iter().map(fate).collect()
    }
}

/// Readings of one message of the batch.
struct Member<'a> {
    readings: Readings<'a>,
    /// `None`: it cannot be written, or not in one message.
    message: Option<Message>,
}

impl MllpSink {
    /// Outcomes of the first of these readings, which wait together: one for each that was looked at.
    pub(super) async fn batched(&self, items: &[Item]) -> Vec<Outcome> {
        let may: Vec<Option<Item>> = items.iter().map(|item| self.gate.admit(item)).collect();
        let admitted: Vec<Item> = may.iter().flatten().filter(|item| reading_of(item).is_some()).cloned().collect();
        let members = self.members(&admitted);
        let outcomes = match members.iter().filter(|m| m.message.is_some()).count() {
            // One message, or none, needs no batch.
            0 | 1 => self.each(&members, &vec![Fate::Alone; members.len()], (false, None)).await,
            _ => self.in_one(&members).await,
        };
        // As far as there are outcomes of what may go; what may not go has its own.
        let mut told = outcomes.into_iter();
        let outcome = |one: &Option<Item>| match one {
            Some(_) => told.next(),
            None => Some(Outcome::Withheld),
        };
        may.iter().map_while(outcome).collect()
    }

    /// The first readings by message, as many as a batch holds.
    fn members<'a>(&self, admitted: &'a [Item]) -> Vec<Member<'a>> {
        let now = self.clock.now().wall_ms;
        let (mut members, mut length): (Vec<Member<'a>>, usize) = (Vec::new(), 0);
        let mut rest = admitted;
        while members.len() < self.batches.most() {
            let readings = group(rest, self.per_message);
            let Some((_, first)) = readings.first() else { break };
            let all: Vec<_> = readings.iter().map(|(_, reading)| &***reading).collect();
            let person = self.person(first.patient.as_ref()).ok();
            let message =
                person.and_then(|person| hl7v2::write_readings(&all, &self.sender, person.as_deref(), now).ok());
            length = length.saturating_add(message.as_ref().map_or(0, |m| m.text.len()));
            if length > OCTETS_MAX && !members.is_empty() {
                break;
            }
            rest = rest.get(readings.len()..).unwrap_or_default();
            members.push(Member { readings, message });
        }
        members
    }

    /// Sends them as a batch, and what has to be alone after it.
    async fn in_one(&self, members: &[Member<'_>]) -> Vec<Outcome> {
        let messages: Vec<&Message> = members.iter().filter_map(|m| m.message.as_ref()).collect();
        let ids: Vec<&str> = messages.iter().map(|m| &*m.control_id).collect();
        let batch = hl7v2::write_batch(&messages, &self.sender, self.clock.now().wall_ms);
        let (answers, trouble) = self.exchange_batch(&batch, &ids).await;
        let understood = !matches!(trouble, Some(Trouble::Hl7Unclear(_)));
        let mut known = answers.fates(&batch.control_id, &ids, understood).into_iter();
        let fate = |m: &Member<'_>| m.message.as_ref().and_then(|_| known.next()).unwrap_or(Fate::Alone);
        let fates: Vec<Fate> = members.iter().map(fate).collect();
        let unanswered = trouble.as_ref().filter(|_| fates.contains(&Fate::Unknown));
        let outcomes = self.each(members, &fates, (true, unanswered.map(|t| t.destination(None)))).await;
        self.learn(&answers, &ids, trouble.as_ref(), &outcomes);
        outcomes
    }

    /// Whether the receiver takes batches, as this one went.
    fn learn(&self, answers: &Answers, ids: &[&str], trouble: Option<&Trouble>, outcomes: &[Outcome]) {
        let refused = answers.whole.as_ref().is_some_and(|ack| ack.verdict != Verdict::Accepted);
        match trouble {
            None if !refused => self.batches.works(),
            // Refused, and each alone was taken: it was the batch that it did not take.
            None if outcomes.iter().all(|o| matches!(o, Outcome::Delivered(_) | Outcome::Withheld)) => {
                self.batches.fails(1);
            }
            None => {}
            // It was not there, or answers nothing as it should.
            Some(Trouble::Unreachable(_) | Trouble::Certificate(_)) => {}
            Some(Trouble::Hl7Unclear(_)) if away(outcomes).is_some() => {}
            Some(Trouble::NoAnswer(SILENCE)) if answers.is_as_of_one(ids) && ids.len() > 2 => {
                self.batches.fails(STRIKES_MAX);
            }
            Some(_) => self.batches.fails(1),
        }
    }

    /// An outcome for each reading; what goes alone is sent here, until the receiver is away.
    /// `batch`: they were sent in one before.
    async fn each(
        &self,
        members: &[Member<'_>],
        fates: &[Fate],
        (batch, unanswered): (bool, Option<Outcome>),
    ) -> Vec<Outcome> {
        let passes = |fate: &Fate| matches!(fate, Fate::Told(ack) if ack.verdict == Verdict::Accepted);
        let others_pass = fates.iter().any(passes);
        let mut last: Vec<Outcome> = unanswered.iter().cloned().collect();
        let mut outcomes = Vec::new();
        for (member, fate) in members.iter().zip(fates) {
            let count = member.readings.len();
            let Some((first, _)) = member.readings.first() else { continue };
            match (fate, &unanswered) {
                // Which of them is wrong, nobody said.
                (Fate::Told(ack), _) if count == 1 || passes(fate) => {
                    outcomes.extend(vec![self.judge(first, ack.clone(), others_pass); count]);
                }
                (Fate::Unknown, Some(trouble)) => outcomes.extend(vec![trouble.clone(); count]),
                _ => {
                    last = match away(&last) {
                        Some(away) => vec![away; count],
                        None => self.together(&member.readings).await,
                    };
                    // It was in the batch, and may be there: a correction must know.
                    if batch && member.message.is_some() {
                        let left_out = "and its consent ended before it was sent alone";
                        let maybe = || Trouble::Hl7Unclear(left_out).item(limits::ITEM_RETRY.0);
                        last.iter_mut().filter(|o| **o == Outcome::Withheld).for_each(|o| *o = maybe());
                    }
                    outcomes.extend(last.iter().cloned());
                }
            }
        }
        outcomes
    }

    /// Sends a batch and takes answers until there is one for each message. With them, why there are no more.
    async fn exchange_batch(&self, batch: &Message, ids: &[&str]) -> (Answers, Option<Trouble>) {
        let mut line = self.readings.lock().await;
        line.remember(ids.iter().copied(), self.remembered);
        let strays_max = limits::HL7_STRAYS_MAX.saturating_add(line.sent.len());
        let octets = wrap(self.sender.characters.octets(&batch.text));
        if let Some(mut connection) = self.kept(&mut line) {
            let talked = self.converse(&mut connection, &octets, (&batch.control_id, ids), strays_max).await;
            let (answers, trouble) = talked;
            match trouble {
                None => {
                    line.connection = Some(connection);
                    return (answers, None);
                }
                trouble if connection.heard => return (answers, trouble),
                // Closed before anything was read, most likely: as with a single message, it may go out again at once.
                Some(_) => drop(self.stale.fetch_add(1, Ordering::Relaxed)),
            }
        }
        let mut connection = match self.address.connect(self.timeout).await {
            Ok(connection) => connection,
            Err(trouble) => return (Answers::default(), Some(trouble)),
        };
        let (answers, trouble) = self.converse(&mut connection, &octets, (&batch.control_id, ids), strays_max).await;
        line.connection = (trouble.is_none() && self.keeps()).then_some(connection);
        (answers, trouble)
    }

    async fn converse(
        &self,
        on: &mut Connection,
        octets: &[u8],
        (batch, ids): (&str, &[&str]),
        strays_max: usize,
    ) -> (Answers, Option<Trouble>) {
        let mut answers = Answers::default();
        let mut trouble = match timeout(self.timeout, on.write(octets)).await {
            Ok(written) => written.err(),
            Err(_) => Some(Trouble::NoAnswer(SILENCE)),
        };
        let mut strays = 0;
        while trouble.is_none() && !answers.are_complete(ids) {
            trouble = match timeout(self.timeout, on.read()).await {
                Err(_) => Some(Trouble::NoAnswer(SILENCE)),
                Ok(Err(trouble)) => Some(trouble),
                Ok(Ok(frame)) => match hl7v2::read_answer(&frame) {
                    None => Some(Trouble::Hl7Unclear("it is no acknowledgement")),
                    Some(answer) if answer.acks.iter().any(|ack| ack.control_id.is_empty()) => {
                        Some(Trouble::Hl7Unclear("it names no message"))
                    }
                    Some(answer) if answers.take(&answer, batch, ids) => None,
                    Some(_) => {
                        strays += 1;
                        if strays == 1 {
                            tracing::warn!("an acknowledgement of another message was passed over");
                        }
                        (strays >= strays_max).then_some(Trouble::Hl7Unclear("it is for other messages"))
                    }
                },
            };
        }
        on.heard |= matches!(trouble, Some(Trouble::NoAnswer(SILENCE)));
        (answers, trouble)
    }
}
