//! Technical conditions of the links: a source or a destination that stays down becomes an alert, and ends as one.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::pipeline::Technical;
use crate::alarm::Priority;
use crate::limits;

/// Watches one link. `down` says of its status why it is down; `None`: it is up.
///
/// Down for less than `limits::LINK_DOWN_ALERT` is no condition: brokers and servers restart.
pub(super) async fn link<S>(
    name: Arc<str>,
    mut status: watch::Receiver<S>,
    down: impl Fn(&S) -> Option<String>,
    told: mpsc::Sender<Technical>,
) {
    let mut down_since: Option<Instant> = None;
    let mut alerted = false;
    loop {
        let why = down(&status.borrow_and_update());
        match (&why, down_since) {
            (Some(_), None) => down_since = Some(Instant::now()),
            (None, Some(_)) => down_since = None,
            _ => {}
        }
        let due = down_since.filter(|_| !alerted).map(|since| since + limits::LINK_DOWN_ALERT);
        let recovered = alerted && why.is_none();
        if recovered || due.is_some_and(|due| due <= Instant::now()) {
            alerted = !recovered;
            let text = why.unwrap_or_else(|| "works again".into());
            let condition = Technical { name: name.clone(), active: alerted, priority: Priority::Medium, text };
            if told.send(condition).await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            biased;
            changed = status.changed() => if changed.is_err() { return },
            () = sleep_until(due), if due.is_some() => {}
            // Nobody listens any more: the pipeline has ended, and the shutdown must not wait for this link to move.
            () = told.closed() => return,
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_link_that_stays_down_is_a_condition_once_and_ends_once() {
        let (status, seen) = watch::channel(true);
        let (told, mut hears) = mpsc::channel(8);
        let down = |up: &bool| (!up).then(|| "refused".to_string());
        let mut set = tokio::task::JoinSet::new();
        set.spawn(link("destination-down:centre".into(), seen, down, told));
        // A short break is none.
        status.send_replace(false);
        tokio::time::sleep(limits::LINK_DOWN_ALERT / 2).await;
        status.send_replace(true);
        tokio::time::sleep(limits::LINK_DOWN_ALERT * 2).await;
        assert!(hears.try_recv().is_err());
        // One that lasts is, although its status moves meanwhile.
        for _ in 0..4 {
            status.send_replace(false);
            tokio::time::sleep(limits::LINK_DOWN_ALERT / 3).await;
        }
        assert!(hears.try_recv().unwrap().active);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(hears.try_recv().is_err());
        status.send_replace(true);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!hears.try_recv().unwrap().active);
    }
}
