//! btleplug: the only file that knows it. It finds the adapter and scans.
//!
//! Connections and values do not come this way (decision 0040). One handle lives as long as the bus: each new one would
//! leave its D-Bus connection behind. Must never: leave a call without an end.

use std::sync::Arc;
use std::time::Duration;

use btleplug::api::{Central, Manager as _, ScanFilter};
use btleplug::platform::{Adapter, Manager};

use super::fault::RadioFault;
use crate::limits::BLE_CALL_MAX;

/// What hangs when a call of btleplug about the scan does.
pub(super) const SCAN: &str = "scan";

/// The adapter as btleplug sees it.
#[derive(Clone)]
pub(super) struct Radio {
    name: Arc<str>,
    adapter: Adapter,
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    call: impl Future<Output = btleplug::Result<T>>,
) -> Result<btleplug::Result<T>, RadioFault> {
    tokio::time::timeout(limit, call).await.map_err(|_| RadioFault::Hung(what))
}

impl Radio {
    /// The adapter of this name, `hci0`.
    pub(super) async fn open(name: &str) -> Result<Self, RadioFault> {
        let manager = within(BLE_CALL_MAX, "connecting", Manager::new()).await?.map_err(|_| RadioFault::NoBus)?;
        let adapters = within(BLE_CALL_MAX, "adapters", manager.adapters()).await?.map_err(|_| RadioFault::NoDaemon)?;
        for adapter in adapters {
            // `hci0 (usb:v1D6B…)`
            let info = within(BLE_CALL_MAX, "adapter", adapter.adapter_info()).await?;
            if info.is_ok_and(|info| info.split(' ').next() == Some(name)) {
                return Ok(Self { name: name.into(), adapter });
            }
        }
        Err(RadioFault::NoAdapter(format!(" `{name}`")))
    }

    /// It is the adapter of this name.
    pub(super) fn is(&self, name: &str) -> bool {
        *self.name == *name
    }

    /// Begins to scan, or begins anew.
    pub(super) async fn scan(&self) -> Result<(), RadioFault> {
        // Of a scan that hangs; without one it is refused, and that is well.
        drop(within(BLE_CALL_MAX, SCAN, self.adapter.stop_scan()).await?);
        within(BLE_CALL_MAX, SCAN, self.adapter.start_scan(ScanFilter::default()))
            .await?
            .map_err(|_| RadioFault::NoScan)
    }

    /// Ends the scan.
    pub(super) async fn rest(&self) {
        drop(within(BLE_CALL_MAX, SCAN, self.adapter.stop_scan()).await);
    }
}
