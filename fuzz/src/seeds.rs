//! `seeds FOLDER VECTORS`: a folder of first inputs for each target, from a file of test vectors.
//! Prints the targets. Fails when a codec has none.

use std::path::Path;

use wardline_fuzz::{CAPTURE, HL7_ACK, INBOUND, TARGETS, forgotten};

fn main() {
    assert!(forgotten().is_empty(), "no target fuzzes {:?}", forgotten());
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("a folder for the seeds");
    for (target, _) in TARGETS {
        std::fs::create_dir_all(Path::new(&folder).join(target)).expect("a folder that can be written");
        println!("{target}");
    }
    let capture = concat!(
        "{\"wardline_capture\":1,\"wardline\":\"0.1.0\",\"started\":\"2026-11-28T19:00\"}\n",
        "{\"ms\":1,\"kind\":\"heard\",\"name\":\"BM85\",\"rssi\":-60,\"service_data\":{\"FCD2\":\"40065e1f\"}}\n",
        "{\"ms\":2,\"kind\":\"indication\",\"service\":\"1810\",\"characteristic\":\"2A35\",\"hex\":\"16ff\"}\n",
    );
    std::fs::write(Path::new(&folder).join(CAPTURE).join("one"), capture).expect("a folder that can be written");
    let acknowledgement = concat!(
        "\u{8}\u{b}MSH|^~\\&|LAB^1.2.3^ISO|CITY|box||20261122101112||ACK^R01^ACK|1|P|2.6\r",
        "MSA|AE|VAENWH54FY5IBNOUNHTI\rERR||OBX^2^5|102^Data type error^HL70357|E\r\u{1c}\r",
    );
    std::fs::write(Path::new(&folder).join(HL7_ACK).join("one"), acknowledgement)
        .expect("a folder that can be written");
    let goal = concat!(
        "{\"resourceType\":\"Goal\",\"id\":\"1\",\"lifecycleStatus\":\"active\",\"target\":[{\"measure\":{\"coding\":[{\"system\":",
        "\"http://loinc.org\",\"code\":\"8867-4\"}]},\"detailQuantity\":{\"value\":100,\"comparator\":\"<\",",
        "\"system\":\"http://unitsofmeasure.org\",\"code\":\"/min\"}}]}"
    );
    let order = concat!(
        "{\"resourceType\":\"ServiceRequest\",\"id\":\"1\",\"status\":\"active\",\"intent\":\"order\",\"code\":{\"coding\":[{\"system\":",
        "\"http://loinc.org\",\"code\":\"29463-7\"}]},\"occurrenceTiming\":{\"repeat\":{\"period\":1,\"periodUnit\":\"d\"}}}"
    );
    for (name, seed) in [("goal", goal), ("order", order)] {
        std::fs::write(Path::new(&folder).join(INBOUND).join(name), seed).expect("a folder that can be written");
    }
    let Some(file) = args.next() else { return };
    let text = std::fs::read_to_string(file).expect("a file of vectors");
    let vectors: wardline_fuzz::codec::vectors::Vectors = serde_json::from_str(&text).expect("a file of vectors");
    for (index, (characteristic, octets)) in vectors.octets().enumerate() {
        if let Some((target, _)) = TARGETS.iter().find(|(_, names)| names.contains(&characteristic)) {
            let seed = Path::new(&folder).join(target).join(format!("vector-{index}"));
            std::fs::write(seed, octets).expect("a folder that can be written");
        }
    }
}
