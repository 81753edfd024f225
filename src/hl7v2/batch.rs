//! Messages in a batch (HL7 v2.6, 2.10.3): BHS, the messages as they are sent alone, BTS with their number.
//!
//! Promises: the same messages in the same order have the same batch control id. Must never: change a message, or hold one
//! back: what is in the list is in the batch.

use super::Message;
use super::envelope::{Sender, hashed};
use super::write::{Segment, components, composite, date_time};

/// A batch of these messages. Its control id is BHS-11.
pub fn write(messages: &[&Message], sender: &Sender, now_ms: i64) -> Message {
    let control_id = hashed(b"batch", messages.iter().map(|m| m.control_id.as_str()));
    let length = messages.iter().map(|m| m.text.len()).sum::<usize>();
    let mut out = String::with_capacity(length.saturating_add(256));
    Segment::new("BHS")
        .set(2, "^~\\&")
        .set(3, components(&[&sender.gateway, &sender.eui64, "EUI-64"]))
        .set(4, composite(&sender.facility))
        .set(5, composite(&sender.to_application))
        .set(6, composite(&sender.to_facility))
        .set(7, date_time(now_ms, true))
        .set(11, control_id.as_str())
        .end(&mut out);
    let mut out = sender.characters.fit(out);
    messages.iter().for_each(|m| out.push_str(&m.text));
    Segment::new("BTS").set(1, messages.len().to_string()).end(&mut out);
    Message { control_id, text: out }
}

#[cfg(test)]
mod tests {
    use super::super::Charset;
    use super::super::tests::sender;
    use super::*;

    fn message(id: &str) -> Message {
        Message { control_id: id.into(), text: format!("MSH|^~\\&||||||||{id}\rPID|||1\r") }
    }

    #[test]
    fn a_batch_is_its_messages_between_header_and_trailer() {
        let all = ["A", "B", "C"].map(message);
        let batch = write(&all.each_ref(), &sender(), 1_795_342_300_000);
        let rows: Vec<&str> = batch.text.split_terminator('\r').collect();
        let header = format!(
            "BHS|^~\\&|box-1^96FB257C5FBB68BC^EUI-64|Home|LAB|CITY^1.2.3^ISO|20261122101140.000+0000||||{}",
            batch.control_id
        );
        assert_eq!((rows[0], rows.len(), rows[7]), (header.as_str(), 8, "BTS|3"));
        assert_eq!(rows[1..7].join("\r") + "\r", all.each_ref().map(|m| m.text.as_str()).concat());
        assert_eq!(batch.control_id.len(), 20);
    }

    #[test]
    fn its_id_is_that_of_what_is_in_it() {
        let [a, b] = ["A", "B"].map(message);
        let id = |messages: &[&Message], now| write(messages, &sender(), now).control_id;
        assert_eq!(id(&[&a, &b], 0), id(&[&a, &b], 5_000), "sent again, it is known");
        assert_eq!(id(&[&a, &b], 0), "YP2DP3B5WRTSUM6NO6HK", "frozen");
        let ids = std::collections::BTreeSet::from([id(&[&a, &b], 0), id(&[&b, &a], 0), id(&[&a], 0), id(&[], 0)]);
        assert_eq!(ids.len(), 4);
        assert!(!ids.contains("A"), "and never that of a message");
    }

    #[test]
    fn its_header_is_of_the_receivers_set() {
        let mut sender = sender();
        (sender.facility, sender.characters) = ("Größe 五".into(), Charset::Latin1);
        assert!(write(&[], &sender, 0).text.contains("|Größe \\XE4BA94\\|"));
    }
}
