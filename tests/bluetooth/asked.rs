//! Devices that tell nothing by themselves: what they are asked over the bus, and what comes of their answers.

use std::sync::Arc;

use wardline::lab::device::Use;

use crate::bluez::{Manners, Peripheral};
use crate::rig::Rig;

const RING: &str = "0734594a-a8e7-4b1a-a6b1-cd5243059a57";
const RING_QUESTIONS: &str = "8b00ace7-eb0b-49b0-bbe9-9aee0a26e1a3";
const TAIDOC: &str = "00001524-1212-efde-1523-785feabcd123";

fn questions(p: &Peripheral) -> Vec<Vec<u8>> {
    p.written.lock().unwrap().iter().map(|(_, octets)| octets.clone()).collect()
}

/// A ring that answers in two parts, as its frame has one octet more than a notification.
fn ring() -> Arc<Peripheral> {
    let service = "14839ac4-7d7e-415c-9a42-167340cf2339";
    let gatt = vec![(service, RING, Use::Notify), (service, RING_QUESTIONS, Use::ReadWrite)];
    let frame = [0x55, 0, 0xff, 0, 0, 13, 0, 98, 66, 0, 0, 0, 0, 0, 97, 0, 0x92, 10, 1, 0, 0x2f];
    let parts = frame.chunks(20).map(<[u8]>::to_vec).collect();
    let answers = vec![(vec![0xaa, 0x17, 0xe8, 0, 0, 0, 0, 0x1b], RING, parts)];
    let manners = Manners { answers, ..Manners::default() };
    Peripheral::with("C0:26:DF:77:00:06", "O2Ring 1234", gatt, true, Vec::new(), manners)
}

/// A frame of a TaiDoc device or of ours, with its sum.
fn taidoc(command: u8, data: [u8; 4], direction: u8) -> Vec<u8> {
    let mut frame = vec![0x51, command];
    frame.extend(data);
    frame.push(direction);
    frame.push(frame.iter().fold(0u8, |sum, octet| sum.wrapping_add(*octet)));
    frame
}

/// A thermometer with two measurements: 36.6 and 37.2 on 2026-11-28, at 09:41 and 09:42. To a third it has no answer.
fn thermometer() -> Arc<Peripheral> {
    let gatt = vec![("00001523-1212-efde-1523-785feabcd123", TAIDOC, Use::Control)];
    let mut answers = Vec::new();
    for (index, minute, raw) in [(0, 41, 366u16), (1, 42, 372)] {
        let [low, high] = raw.to_le_bytes();
        let when = taidoc(0x25, [0x7c, 0x35, minute, 9], 0xa5);
        answers.push((taidoc(0x25, [index, 0, 0, 0], 0xa3), TAIDOC, vec![when]));
        answers.push((taidoc(0x26, [index, 0, 0, 0], 0xa3), TAIDOC, vec![taidoc(0x26, [low, high, 0, 0], 0xa5)]));
    }
    let manners = Manners { answers, ..Manners::default() };
    Peripheral::with("C0:26:DF:77:00:07", "FORA IR42", gatt, true, Vec::new(), manners)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_is_asked_again_and_a_thermometer_until_it_has_no_more() {
    let (ring, thermometer) = (ring(), thermometer());
    let Some(mut rig) = Rig::start(vec![ring.clone(), thermometer.clone()], &[], "").await else { return };
    // Two temperatures; saturation and pulse, and both again at the next question.
    rig.until("two rounds", |rig| rig.endpoint.counts().observations >= 6).await;
    assert!(questions(&ring).len() >= 2);
    rig.until("the end of the memory", |_| questions(&thermometer).len() == 5).await;
    let asked: Vec<u8> = questions(&thermometer).iter().map(|q| q[1]).collect();
    assert_eq!(asked, [0x25, 0x26, 0x25, 0x26, 0x25], "one after the other, and none after silence");
    assert_eq!(rig.endpoint.counts().duplicates, 0);
    rig.stop();
}
