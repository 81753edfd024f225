//! Logs without patient data, metrics, service-manager notifications.
