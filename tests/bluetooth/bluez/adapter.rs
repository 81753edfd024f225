//! `org.bluez.Adapter1`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use zbus::zvariant::OwnedObjectPath;
use zbus::{ObjectServer, fdo, interface};

use super::device::Device;
use super::{ADAPTER, Options, State};

pub struct Adapter(pub Arc<State>);

/// Says that the scan runs, or not.
pub async fn discovering(server: &ObjectServer, state: &State, on: bool) {
    state.discovering.store(on, Ordering::SeqCst);
    let Ok(adapter) = server.interface::<_, Adapter>(ADAPTER).await else { return };
    let _ = adapter.get().await.discovering_changed(adapter.signal_emitter()).await;
}

impl Adapter {
    async fn hang(&self) {
        self.0.hanging.fetch_add(1, Ordering::SeqCst);
        while self.0.hung.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

#[interface(name = "org.bluez.Adapter1")]
impl Adapter {
    async fn set_discovery_filter(&self, _filter: Options) {}

    async fn start_discovery(
        &self,
        #[zbus(signal_emitter)] emitter: zbus::object_server::SignalEmitter<'_>,
    ) -> fdo::Result<()> {
        self.0.scans.fetch_add(1, Ordering::SeqCst);
        if !self.0.powered.load(Ordering::SeqCst) {
            return Err(fdo::Error::Failed("org.bluez.Error.NotReady".into()));
        }
        if !self.0.scanless.load(Ordering::SeqCst) {
            self.0.discovering.store(true, Ordering::SeqCst);
            self.discovering_changed(&emitter).await?;
        }
        Ok(())
    }

    async fn stop_discovery(
        &self,
        #[zbus(signal_emitter)] emitter: zbus::object_server::SignalEmitter<'_>,
    ) -> fdo::Result<()> {
        if !self.0.discovering.swap(false, Ordering::SeqCst) {
            return Err(fdo::Error::Failed("No discovery started".into()));
        }
        self.discovering_changed(&emitter).await?;
        Ok(())
    }

    async fn remove_device(
        &self,
        device: OwnedObjectPath,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> fdo::Result<()> {
        if let Some(p) = self.0.peripherals.values().find(|p| p.path() == device.as_str()) {
            tokio::time::sleep(p.manners().lingers).await;
            p.bonded.store(false, Ordering::SeqCst);
            super::device::power_lost(server, p).await;
        }
        server.remove::<Device, _>(device).await.map_err(|e| fdo::Error::Failed(e.to_string()))?;
        Ok(())
    }

    #[zbus(property)]
    fn address(&self) -> &str {
        "00:00:5E:00:53:AA"
    }
    #[zbus(property)]
    fn address_type(&self) -> &str {
        "public"
    }
    #[zbus(property)]
    fn name(&self) -> &str {
        "fake"
    }
    #[zbus(property)]
    fn alias(&self) -> &str {
        "fake"
    }
    #[zbus(property)]
    fn modalias(&self) -> &str {
        "usb:v1D6Bp0246d0542"
    }
    #[zbus(property)]
    async fn powered(&self) -> bool {
        self.hang().await;
        self.0.powered.load(Ordering::SeqCst)
    }
    #[zbus(property)]
    fn set_powered(&self, on: bool) {
        self.0.powered.store(on, Ordering::SeqCst);
        if !on {
            self.0.switched_off.fetch_add(1, Ordering::SeqCst);
            self.0.discovering.store(false, Ordering::SeqCst);
        }
    }
    #[zbus(property)]
    fn discovering(&self) -> bool {
        self.0.discovering.load(Ordering::SeqCst)
    }
}
