//! A connection that ends without a word.

use super::*;

/// A library panics in a connection's task, which then says nothing of its end.
#[tokio::test]
async fn a_connection_whose_task_panics_ends_as_failed() {
    let (clock, id) = (crate::clock::Clock::manual(Stamp::at_ms(1_000)), DeviceId("ble:C0:26:DF:00:11:22".into()));
    let ((frames, _arriving), (_told, kept)) = (mpsc::channel(1), mpsc::channel(1));
    let ((_forget, forget), known) = (mpsc::channel(1), [(id.clone(), None)].into());
    let port = Port { frames, kept, status: watch::Sender::default(), clock, stop: CancellationToken::new() };
    let setup = Setup {
        name: "radio".into(),
        adapter: None,
        max_connected: 1,
        silence: Duration::ZERO,
        time_zone: TimeZone::UTC,
        catalogue: Arc::default(),
        known: watch::Sender::new(Arc::new(known)).subscribe(),
        codes: watch::Sender::default().subscribe(),
        view: watch::Sender::default(),
        window: Arc::default(),
        forget,
        tap: Arc::default(),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = Keeper::new(setup, Memory::open(folder.path(), |_, _| true), port);
    keeper.peers.all.values_mut().for_each(|peer| peer.connecting(7));
    let task = keeper.links.spawn(async { panic!("a library") });
    keeper.crew.insert(task.id(), (7, id.clone()));
    while keeper.peers.connected() > 0 {
        let event = keeper.event().await;
        keeper.take(event);
    }
    let peer = &keeper.peers.all["C0:26:DF:00:11:22"];
    assert_eq!((peer.health.phase, peer.health.failures), (Phase::Away, 1));
    assert_eq!(peer.health.why().map(|why| why.code), Some("WL-O012"));
}
