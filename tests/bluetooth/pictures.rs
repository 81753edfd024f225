//! A house for the pictures of the technician's page (`docs/images/devices-*.png`): `scripts/pictures` opens it with a browser.
//!
//! All of it is virtual: the lab's devices behind the fake bluetoothd, and somebody who does not exist.

use std::time::{Duration, Instant};

use wardline::lab::device::Tool;

use crate::bluez::{Manners, Method};
use crate::rig::{Rig, peripheral};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "stands until the pictures are taken: scripts/pictures"]
async fn a_house_for_pictures() {
    let folder = std::path::PathBuf::from(std::env::var_os("WARDLINE_PICTURES").expect("a folder for the link"));
    let meter = Manners { pairing: Some(Method::Shows(483_920)), ..Manners::default() };
    let calm = Manners::default;
    let kinds =
        [(Tool::Cuff, calm()), (Tool::Thermometer, calm()), (Tool::Glucometer, meter), (Tool::Oximeter, calm())];
    let all: Vec<_> = kinds.into_iter().map(|(tool, manners)| peripheral(tool, 1, 3, manners).0).collect();
    let stranger = all[3].address.clone();
    let Some(mut rig) = Rig::start(all, &[&stranger], "").await else { return };
    rig.stop();
    let page = "[page]\nlisten = \"127.0.0.1:0\"\n";
    let named = "reference = \"Patient/p1\"\ndisplay = \"Ada\"\n";
    rig.gateway.reword(|text| text.replacen("reference = \"Patient/p1\"\n", named, 1) + page);
    rig.gateway.start();
    for file in ["desktop", "phone"] {
        let said = rig.gateway.cli(&["devices", "page"]).0;
        let link = said.lines().find(|line| line.starts_with("http://127.0.0.1:")).unwrap();
        std::fs::write(folder.join(file), link).unwrap();
    }
    let since = Instant::now();
    while !folder.join("done").exists() && since.elapsed() < Duration::from_secs(300) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    rig.stop();
}
