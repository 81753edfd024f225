//! How others lost data, and no other test here looks at: restarts and the same settings again and again with a backlog
//! (X2), an outage in which the count of rows must never fall (X3), weeks offline with reboots (X19).

use std::time::Duration;

use wardline::clock::{Clock, Stamp};
use wardline::config::DeviceSettings;
use wardline::custody::Lane;
use wardline::reading::{DeviceId, PatientId};
use wardline_disk::{Disk, Image};

use super::simulated::*;
use super::support::*;

/// Starts of the gateway, spread over 45 days.
const STARTS: u64 = 1_000;
const DAYS: u64 = 45;

#[tokio::test]
async fn weeks_offline_with_a_thousand_starts_lose_neither_readings_nor_settings() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(Image::new());
    disk.mount(folder.path());
    let under = Under { disk: disk.clone(), synchronous: "FULL" };
    let added = DeviceSettings {
        id: DeviceId("mqtt:added-later".into()),
        patient: Some(PatientId::new("Patient/p")),
        slots: Default::default(),
        since: None,
        time_zone: None,
    };
    let mut now = Stamp::at_ms(NOW_MS);
    for start in 1..=STARTS {
        // Each start is a boot of its own: the monotonic clock begins anew.
        now = Stamp { mono_us: 1_000_000, boot: start, ..now.plus(Duration::from_secs(DAYS * 86_400 / STARTS)) };
        let clock = Clock::manual(now);
        let (journal, past) = open_with_past(&under, folder.path(), &bare(), &clock).unwrap();
        assert_eq!(past.salvaged, None, "start {start}");
        assert_eq!(past.devices.len(), usize::from(start > 1), "start {start}: what was set at run time is there");
        if start == 1 {
            journal.save_device(added.clone()).await.unwrap();
        }
        assert_eq!(journal.commit(group([reading(start, "d")])).await.unwrap(), [new(1)]);
        if start % 100 == 0 {
            let waiting = journal.lease("centre", Lane::Backlog, 2_000).await.unwrap().len();
            assert_eq!(waiting as u64, start - 1, "all that was taken before this start is owed");
        }
        // One in three ends without a word, as at a power cut with nothing unsynced.
        if start % 3 != 0 {
            journal.close().await;
        }
        drop(journal);
    }
    let clock = Clock::manual(Stamp { boot: STARTS + 1, ..now });
    let (journal, past) = open_with_past(&under, folder.path(), &bare(), &clock).unwrap();
    assert_eq!(past.devices[0].id, added.id);
    let owed = numbers(&lease(&journal, Lane::Backlog, 2_000).await);
    assert_eq!(owed, (1..=STARTS).collect::<Vec<_>>(), "in their order, each once");
    journal.close().await;
}
