//! The journal as the control plane's handlers see it.

use std::sync::Arc;

use crate::alarm::Alert;
use crate::config::{Config, DeviceSettings};
use crate::control::{Records, Unreadable, view};
use crate::reading::ReadingKey;

struct Nothing;

pub(super) fn of(_config: &Config) -> Arc<dyn Records> {
    Arc::new(Nothing)
}

impl Records for Nothing {
    fn readings(&self, _: &view::Filter) -> Result<Vec<view::Row>, Unreadable> {
        Ok(vec![])
    }
    fn explain(&self, _: ReadingKey) -> Result<Option<view::Explained>, Unreadable> {
        Ok(None)
    }
    fn alerts(&self, _: usize) -> Result<Vec<Alert>, Unreadable> {
        Ok(vec![])
    }
    fn outbox(&self, _: Option<&str>) -> Result<Vec<view::Outbox>, Unreadable> {
        Ok(vec![])
    }
    fn devices(&self) -> Result<Vec<DeviceSettings>, Unreadable> {
        Ok(vec![])
    }
}
