//! The acknowledgement of a message: which one it is for, what it says, and the codes of an error. Hostile input is bounded
//! by the frame; what is not understood is no acknowledgement.
//!
//! Must never: take the receiver's own words along, which may quote the patient; only codes and places.

use hl7_parser::Message;

/// Characters of a code, a place, or a name that are kept.
const KEPT_MAX: usize = 40;

/// What the receiver says (MSA-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// AA or CA: it has it.
    Accepted,
    /// AE or CE: it found an error in it.
    Error,
    /// AR or CR: it does not take it, for a reason that may be its own.
    Refused,
}

/// An acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// What it says.
    pub verdict: Verdict,
    /// The id of the message that it is for (MSA-2). Empty: it names none.
    pub control_id: String,
    /// Who says it (MSH-3 and MSH-4, letters and digits only), for the receipt.
    pub by: String,
    /// `: 207 at OBX.5`, or nothing: of the first ERR segment.
    pub detail: String,
}

/// Reads an acknowledgement. `None`: it is none.
pub fn read(octets: &[u8]) -> Option<Ack> {
    let text = String::from_utf8_lossy(octets);
    let message = Message::parse_with_lenient_newlines(text.trim(), true).ok()?;
    let value = |segment: &str, field: usize| message.segment(segment)?.field(field).map(|f| f.raw_value());
    let verdict = match value("MSA", 1)?.trim() {
        "AA" | "CA" => Verdict::Accepted,
        "AE" | "CE" => Verdict::Error,
        "AR" | "CR" => Verdict::Refused,
        _ => return None,
    };
    // An id is compared as it stands: ours needs no escaping.
    let control_id = value("MSA", 2).map_or(String::new(), |id| id.trim().chars().take(KEPT_MAX).collect());
    let name = |field| word(value("MSH", field).unwrap_or_default());
    let by = match (name(3), name(4)) {
        (application, facility) if facility.is_empty() => application,
        (application, facility) => format!("{application}@{facility}"),
    };
    // ERR-3 is the code, ERR-2 the place; before 2.5 both stood in ERR-1.
    let code = [3, 1].into_iter().find_map(|field| Some(digits(value("ERR", field)?)).filter(|d| !d.is_empty()));
    let place = value("ERR", 2).map(place).unwrap_or_default();
    let detail = match (code, place.is_empty()) {
        (None, _) => String::new(),
        (Some(code), true) => format!(": {code}"),
        (Some(code), false) => format!(": {code} at {place}"),
    };
    Some(Ack { verdict, control_id, by, detail })
}

/// What came in one frame: an acknowledgement, or a batch of them (2.10.3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Acknowledgements, in their order.
    pub acks: Vec<Ack>,
    /// The batch that this batch answers (BHS-12).
    pub batch: Option<String>,
    /// It holds as many as its trailer says, and nothing else.
    pub is_whole: bool,
}

/// Reads a frame with one acknowledgement or many. `None`: there is neither one, nor a batch that could have had some.
pub fn read_all(octets: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(octets);
    let mut answer = Answer::default();
    let (mut messages, mut said): (Vec<String>, _) = (Vec::new(), None);
    for row in text.split(['\r', '\n']).map(str::trim).filter(|row| !row.is_empty()) {
        // Of a header, the fourth character separates the fields.
        let field = |number: usize, separator| row.split(separator).nth(number).unwrap_or_default().trim();
        match row.get(..3) {
            Some("MSH") => messages.push(row.to_owned()),
            Some("BHS") => {
                let separator = row.chars().nth(3)?;
                answer.batch = Some(field(11, separator).chars().take(KEPT_MAX).collect());
            }
            Some("BTS") => said = field(1, row.chars().nth(3).unwrap_or('|')).parse().ok(),
            Some("FHS" | "FTS") => {}
            _ => {
                let message = messages.last_mut()?;
                message.push('\r');
                message.push_str(row);
            }
        }
    }
    answer.acks = messages.iter().filter_map(|message| read(message.as_bytes())).collect();
    answer.is_whole = answer.acks.len() == messages.len() && said == Some(messages.len());
    (!answer.acks.is_empty() || answer.batch.is_some()).then_some(answer)
}

/// The first three-digit code of an error (table 0357).
fn digits(field: &str) -> String {
    let codes = field.split(['^', '&', '~']);
    let code = codes.map(str::trim).find(|c| c.len() == 3 && c.bytes().all(|b| b.is_ascii_digit()));
    code.unwrap_or_default().to_owned()
}

/// `OBX.2.5`: a segment's name and numbers.
fn place(field: &str) -> String {
    let mut parts = field.split('^').map(str::trim);
    let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    let Some(segment) = parts.next().filter(|s| s.len() == 3 && s.chars().all(fits)) else { return String::new() };
    let numbers = parts.take_while(|p| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit()));
    numbers.take(5).fold(segment.to_owned(), |place, number| place + "." + number)
}

/// What looks like a name.
fn word(text: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split('^').next().unwrap_or_default().chars().filter(fits).take(KEPT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ack(rest: &str) -> Option<Ack> {
        read(
            format!("MSH|^~\\&|LAB^1.2.3^ISO|CITY|wardline|box|20261122101112||ACK^R01^ACK|9|P|2.6\r{rest}").as_bytes(),
        )
    }

    #[test]
    fn acknowledgements_are_read_as_receivers_write_them() {
        for (said, verdict) in [
            ("AA", Verdict::Accepted),
            ("CA", Verdict::Accepted),
            ("AE", Verdict::Error),
            ("CE", Verdict::Error),
            ("AR", Verdict::Refused),
            ("CR", Verdict::Refused),
        ] {
            let ack = ack(&format!("MSA|{said}|ABC\r")).unwrap();
            assert_eq!((ack.verdict, &*ack.control_id, &*ack.by, &*ack.detail), (verdict, "ABC", "LAB@CITY", ""));
        }
        let error = ack("MSA|AE|ABC|Doe, John is dead\rERR||PID^1^5|207^Application error^HL70357|E|||Doe\r").unwrap();
        assert_eq!((&*error.by, &*error.detail), ("LAB@CITY", ": 207 at PID.1.5"));
        let old = read(b"MSH|^~\\&|||||||ACK|1|P|2.3\nMSA|AR|7\nERR|PID^1^5^101&x&HL70357\n").unwrap();
        assert_eq!((&*old.by, &*old.detail, &*old.control_id), ("", ": 101", "7"));
    }

    #[test]
    fn what_is_none_is_none() {
        for text in
            ["", "MSH", "MSH|", "<html>", "MSA|AA|1", "MSH|^~\\&|x\r", "MSH|^~\\&|x\rMSA\r", "MSH|^~\\&|x\rMSA|OK|1\r"]
        {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        assert!(ack("MSA|AA|\r").unwrap().control_id.is_empty());
        assert!(read(&[0xff, 0xfe, b'M', b'S', b'H']).is_none());
    }

    #[test]
    fn no_words_of_the_receiver_are_kept() {
        let said = ack("MSA|AE|1|canary\rERR||canary pressure 186|canary|E|canary|canary|canary\r").unwrap();
        assert_eq!(said.detail, "");
        let placed = ack("MSA|AE|1\rERR||OBX^2^5^1^3 Canary|102^canary^HL70357|E\r").unwrap();
        assert_eq!(placed.detail, ": 102 at OBX.2.5.1");
    }

    #[test]
    fn a_frame_holds_one_acknowledgement_or_a_batch_of_them() {
        let head = |n: usize| format!("MSH|^~\\&|LAB|CITY|||2026||ACK^R01^ACK|{n}|P|2.6\r");
        let one = format!("{}MSA|AA|A\r", head(1));
        let only = read_all(one.as_bytes()).unwrap();
        assert_eq!((only.acks, only.batch, only.is_whole), (vec![read(one.as_bytes()).unwrap()], None, false));
        let header = "BHS|^~\\&|LAB|CITY|||2026||||77|OURS\r";
        let batch = format!("{header}{one}{}MSA|AE|B\rERR||PID^1^3|204\r{}MSA|AR|C\rBTS|3\r", head(2), head(3));
        for text in [batch.clone(), format!("FHS|^~\\&\r{batch}FTS|1\r"), batch.replace('\r', "\r\n")] {
            let all = read_all(text.as_bytes()).unwrap();
            let said: Vec<_> = all.acks.iter().map(|a| (a.verdict, &*a.control_id, &*a.detail)).collect();
            let expected =
                [(Verdict::Accepted, "A", ""), (Verdict::Error, "B", ": 204 at PID.1.3"), (Verdict::Refused, "C", "")];
            assert_eq!((said, all.batch.as_deref(), all.is_whole), (expected.to_vec(), Some("OURS"), true));
        }
        // Cut short, with another number, with something else in it: it is not whole.
        for text in [batch.replace("BTS|3", ""), batch.replace("BTS|3", "BTS|4"), batch.replace("MSA|AR|C", "PID|1")] {
            assert!(!read_all(text.as_bytes()).unwrap().is_whole, "{text}");
        }
        // Without a frame of its own around them.
        assert_eq!(read_all(format!("{one}{}MSA|AA|B\r", head(2)).as_bytes()).unwrap().acks.len(), 2);
        let none = read_all(format!("{header}BTS|0\r").as_bytes()).unwrap();
        assert_eq!((none.acks.len(), none.batch.as_deref(), none.is_whole), (0, Some("OURS"), true));
        for text in ["", "BHS", "MSA|AA|1\r", "BTS|0\r", "PID|1\rMSH|^~\\&\r", "MSH|^~\\&|x\rPID|1\r"] {
            assert_eq!(read_all(text.as_bytes()), None, "{text}");
        }
    }

    /// Who answers in another set than ours: codes, ids and places are the same in all of them, and words are not kept.
    #[test]
    fn an_acknowledgement_is_read_whatever_its_character_set() {
        for name in [&b"Z\xFCrich"[..], b"Z\xC3\xBCrich", b"\xFF\xFE\x80", b"\xC3"] {
            let head = b"MSH|^~\\&|";
            let rest = b"|CITY|||2026||ACK|1|P|2.6||||||8859/1\rMSA|AE|ABC|";
            let octets = [&head[..], name, rest, name, b"\rERR||PID^1^5|207^", name, b"|E\r"].concat();
            let said = read(&octets).unwrap();
            assert_eq!((said.verdict, &*said.control_id, &*said.detail), (Verdict::Error, "ABC", ": 207 at PID.1.5"));
            assert!(said.by.ends_with("@CITY") && said.by.is_ascii(), "{}", said.by);
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_harm(octets: Vec<u8>) {
            let _ = (read(&octets), read_all(&octets));
            let _ = read_all(&[&b"BHS|^~\\&|\rMSH|^~\\&|\rMSA|AA|"[..], &octets].concat());
            let _ = read(&[&b"MSH|^~\\&|\rMSA|AA|"[..], &octets].concat());
        }
    }
}
